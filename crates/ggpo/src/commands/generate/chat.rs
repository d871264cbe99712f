//! A conversation at the terminal.

use std::io::{BufRead, IsTerminal};

use anyhow::{Result, bail};
use ggpo_model::chat::{ChatTemplate, Message, Role};
use ggpo_model::generate::continue_ids;

use super::Generate;
use crate::output::flush;
use crate::{say, say_part};

impl Generate {
    /// Answers every line of the input until it ends.
    pub(super) fn talk(&self) -> Result<()> {
        let opened = self.source.open()?;
        let named = self.chat_template.as_deref().or(opened.chat_template());
        let model = &opened.assembled;
        let template = ChatTemplate::choose(&model.tokenizer, named)?;
        let mut config = self.config(model);
        // A model may not have the template's end of a turn among its tokens.
        if let Some(end) = template.end_of_turn() {
            match model.tokenizer.id(&end) {
                Some(id) => config.tokens.stop_ids.push(id),
                None => config.stop_strings.push(end),
            }
        }
        let system = self
            .system
            .iter()
            .map(|text| Message::new(Role::System, text));
        let mut turns: Vec<Message> = system.collect();
        let input = std::io::stdin();
        let asks = input.is_terminal();
        let mut line = String::new();
        loop {
            if asks {
                say_part!("> ");
                flush();
            }
            line.clear();
            if input.lock().read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                continue;
            }
            turns.push(Message::new(Role::User, line.trim()));
            let prompt = match template.prompt(&model.tokenizer, &turns) {
                Ok(prompt) => prompt,
                Err(problem) => bail!("{problem}"),
            };
            let mut give = |_, news: &str| {
                say_part!("{news}");
                flush();
            };
            let mut answers = continue_ids(
                &model.model,
                &model.parameters,
                &model.adapters,
                &model.tokenizer,
                &[prompt],
                &config,
                &mut give,
            )?;
            say!("");
            turns.push(Message::new(Role::Assistant, answers.remove(0)));
        }
    }
}
