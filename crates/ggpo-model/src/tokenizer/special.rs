//! Texts that a template has made, in which special tokens are meant.

use std::ops::Range;

use super::Tokenizer;

impl Tokenizer {
    /// Ids of a text in which the text of a special token is that token, and the bytes of
    /// the text that each id stands for. Nothing is set around the text.
    pub fn encode_with_special(&self, text: &str) -> (Vec<usize>, Vec<Range<usize>>) {
        let open = self.open.get_or_init(|| {
            let mut open = self.inner.clone();
            open.set_encode_special_tokens(false);
            open
        });
        let encoding = open.encode(text, false);
        let encoding = encoding.expect("a tokenizer that encodes the unknown encodes every text");
        let ids = encoding.get_ids().iter().map(|&id| id as usize).collect();
        let bytes = encoding
            .get_offsets()
            .iter()
            .map(|&(start, end)| start..end);
        (ids, bytes.collect())
    }

    /// Whether an id is that of a special token.
    pub fn is_special(&self, id: usize) -> bool {
        let added = self.inner.get_added_tokens_decoder();
        let token = u32::try_from(id).ok().and_then(|id| added.get(&id));
        token.is_some_and(|token| token.special)
    }

    /// The first special token whose text is in a text.
    pub fn special_in(&self, text: &str) -> Option<String> {
        let added = self.inner.get_added_tokens_decoder();
        let mut found: Vec<(usize, &str)> = added
            .values()
            .filter(|token| token.special)
            .filter_map(|token| Some((text.find(&token.content)?, token.content.as_str())))
            .collect();
        found.sort_unstable();
        found.first().map(|(_, token)| (*token).to_owned())
    }

    /// The text of a token, as it stands in the vocabulary.
    pub fn token(&self, id: usize) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }
}
