//! Texts to token ids and back, and the special tokens around them.

mod fence;
mod frame;
mod special;

use std::path::Path;
use std::sync::OnceLock;

use ggpo_files::read::TOKENIZER;
use ggpo_files::write_atomically;
use tokenizers::models::bpe::{BPE, BpeTrainer, BpeTrainerBuilder};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder};

pub use frame::{Encoded, SpecialIds, longest_first};

use crate::chat::{Said, of_folder};
use crate::{Error, Result};
use frame::Frame;

/// A `tokenizer.json`, as the Hugging Face tools read and write it.
///
/// Text never becomes a special token: `[SEP]` in a message is five letters and
/// signs like any other. Only of a text that a chat template has made does
/// [`encode_with_special`](Self::encode_with_special) read special tokens.
///
/// Where it has a post-processor, that sets its special tokens around texts and
/// pairs of texts. Without one they stand as in BERT: `[CLS] text [SEP]` and
/// `[CLS] text [SEP] pair [SEP]`, as far as the vocabulary has these two.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The same for texts in which special tokens are meant, made when it is needed.
    open: OnceLock<tokenizers::Tokenizer>,
    frame: Frame,
    vocabulary: usize,
    special: SpecialIds,
    chats: Said,
    /// Whether the tokens of a text are those of its lines.
    cut_at_lines: bool,
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a model's folder; what its `config.json`
    /// says of special tokens goes before what their names say. The folder's chat template
    /// is read with it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn open(folder: &Path) -> Result<Self> {
        let tokenizer = Self::load(&folder.join("tokenizer.json"))?;
        let said = SpecialIds::read(&folder.join("config.json"))?;
        let tokenizer = tokenizer.with_special_ids(said);
        Ok(tokenizer.with_chats(of_folder(folder)?))
    }

    /// Reads a `tokenizer.json`; its own padding and truncation are set aside.
    ///
    /// # Errors
    /// If it cannot be read, is no tokenizer, or cannot encode every text.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = ggpo_files::read(path, TOKENIZER).map_err(|source| Error::io(path, source))?;
        fence::check(&bytes)
            .and_then(|()| Self::parse(bytes))
            .map_err(|found| {
                let problem = format!("expected a tokenizer for any text, found {found}");
                Error::file(path, problem)
            })
    }

    /// Reads the text of a `tokenizer.json` that was checked, or made here.
    pub(crate) fn parse(json: impl AsRef<[u8]>) -> std::result::Result<Self, String> {
        let inner = fence::fenced(|| tokenizers::Tokenizer::from_bytes(json))?;
        Self::new(inner)
    }

    /// A tokenizer whose texts are the numbers below `count`, one token each; every
    /// other text is the token `count`.
    ///
    /// # Panics
    /// Never: the unknown is a token.
    pub fn of_numbers(count: usize) -> Self {
        const UNKNOWN: &str = "[UNK]";
        let tokens = (0..count).map(|number| number.to_string());
        let tokens = tokens.chain([UNKNOWN.to_owned()]).zip(0..);
        let model = WordLevel::builder()
            .vocab(tokens.collect())
            .unk_token(UNKNOWN.to_owned())
            .build()
            .expect("the unknown is a token");
        Self::new(tokenizers::Tokenizer::new(model)).expect("it encodes every text")
    }

    /// Takes over a tokenizer of the Hugging Face library.
    ///
    /// # Errors
    /// If it cannot encode a text of a character that no vocabulary has, or the library
    /// cannot use it.
    pub fn new(inner: tokenizers::Tokenizer) -> std::result::Result<Self, String> {
        fence::fenced(|| Self::prepare(inner))
    }

    fn prepare(mut inner: tokenizers::Tokenizer) -> tokenizers::Result<Self> {
        inner.set_encode_special_tokens(true);
        inner.with_padding(None);
        inner.with_truncation(None)?;
        // A model without a token for the unknown fails at such a text.
        inner.encode_fast("\u{10FFFD}", false)?;
        let frame = Frame::of(&inner)?;
        let ids = inner.get_vocab(true).into_values().map(|id| id as usize);
        let largest = ids.chain(frame.largest_id()).max();
        Ok(Tokenizer {
            vocabulary: largest.map_or(0, |largest| largest + 1),
            frame,
            special: SpecialIds::default(),
            cut_at_lines: fence::cuts_at_lines(&inner),
            chats: Said::default(),
            open: OnceLock::new(),
            inner,
        })
    }

    /// The same tokenizer with the special tokens that a model's description
    /// names.
    pub fn with_special_ids(self, special: SpecialIds) -> Self {
        Tokenizer { special, ..self }
    }

    /// The same tokenizer with what a model says of conversations.
    pub(crate) fn with_chats(self, chats: Said) -> Self {
        Tokenizer { chats, ..self }
    }

    /// What the model says of conversations.
    pub(crate) fn said_of_chats(&self) -> &Said {
        &self.chats
    }

    /// Id that short sequences are padded with. Nothing reads it, so it is the
    /// first of `[PAD]`, `<pad>`, what the model says, the end of the text, and
    /// 0 that there is.
    pub fn padding(&self) -> usize {
        let named = self.id("[PAD]").or_else(|| self.id("<pad>"));
        let said = named.or(self.special.padding);
        said.or_else(|| self.end_of_text()).unwrap_or(0)
    }

    /// Id of the token after the last of a text: what the model says, or the
    /// first of `</s>`, `<|endoftext|>` and `[SEP]` that there is.
    pub fn end_of_text(&self) -> Option<usize> {
        let named = || {
            ["</s>", "<|endoftext|>", "[SEP]"]
                .iter()
                .find_map(|token| self.id(token))
        };
        self.special.end_of_text.or_else(named)
    }

    /// Id of the token that the decoder of an encoder-decoder reads first: what
    /// the model says, or the padding, as in T5.
    pub fn decoder_start(&self) -> usize {
        self.special.decoder_start.unwrap_or_else(|| self.padding())
    }

    /// Writes a `tokenizer.json`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = self.to_json(path)?;
        write_atomically(path, json.as_bytes()).map_err(|source| Error::io(path, source))
    }

    /// The text of a `tokenizer.json`; `path` is what an error names.
    ///
    /// # Errors
    /// If the tokenizer has no JSON form.
    pub fn to_json(&self, path: &Path) -> Result<String> {
        let json = self.inner.to_string(true);
        json.map_err(|error| Error::file(path, error.to_string()))
    }

    /// Ids of a text, without special tokens.
    ///
    /// # Errors
    /// If the text has a word of more than 2^18 bytes, or the tokenizer cannot encode it.
    pub fn encode(&self, text: &str) -> Result<Vec<usize>> {
        let mut ids = Vec::new();
        let pieces = match self.cut_at_lines {
            true => fence::pieces(text),
            false => vec![text],
        };
        for piece in pieces {
            let encoding = self.encoding(piece)?;
            ids.extend(encoding.get_ids().iter().map(|&id| id as usize));
        }
        Ok(ids)
    }

    fn encoding(&self, text: &str) -> Result<tokenizers::Encoding> {
        fence::check_words(text)
            .and_then(|()| fence::fenced(|| self.inner.encode_fast(text, false)))
            .map_err(|problem| Error::config("text", "one that the tokenizer can encode", problem))
    }

    /// The text of token ids, special tokens left out.
    ///
    /// # Errors
    /// If the tokenizer's own decoder cannot make text of them.
    pub fn decode(&self, ids: &[usize]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        fence::fenced(|| self.inner.decode(&ids, true))
            .map_err(|error| Error::config("token ids", "ids of a text", error))
    }

    /// Id of a token.
    pub fn id(&self, token: &str) -> Option<usize> {
        self.inner.token_to_id(token).map(|id| id as usize)
    }

    /// The largest id that sequences get: of tokens, of the special tokens around them,
    /// of padding, and of what ends or begins a text.
    pub fn largest_id(&self) -> usize {
        let tokens = self.vocabulary.saturating_sub(1);
        let end = self.end_of_text().unwrap_or(0);
        tokens
            .max(end)
            .max(self.padding())
            .max(self.decoder_start())
    }

    /// Number of tokens: every id of a text and of what stands around it is below it.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Learns a byte-level BPE vocabulary (Sennrich and others 2016; the bytes
    /// as in GPT-2) of at most `vocabulary` tokens: `specials` with the first
    /// ids, the 256 bytes, and the most frequent merges. Every text can be
    /// encoded, and decodes to itself.
    ///
    /// The same texts give the same tokenizer, whatever their order.
    ///
    /// # Errors
    /// If `vocabulary` has no room for the special tokens and the bytes.
    pub fn train_byte_level_bpe<S: AsRef<str> + Sync>(
        texts: &[S],
        vocabulary: usize,
        specials: &[&str],
    ) -> Result<Self> {
        let least = 256 + specials.len();
        if vocabulary < least {
            let expected = format!("at least {least}, the bytes and the special tokens");
            return Err(Error::config("vocabulary", expected, vocabulary));
        }
        let special = |token: &&str| AddedToken::from(*token, true);
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(specials.iter().map(special).collect())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        Self::learn(&mut trainer, texts)
            .map_err(|error| error.to_string())
            .and_then(Self::new)
            .map_err(|error| Error::config("texts", "texts to learn a vocabulary from", error))
    }

    fn learn<S: AsRef<str> + Sync>(
        trainer: &mut BpeTrainer,
        texts: &[S],
    ) -> tokenizers::Result<tokenizers::Tokenizer> {
        let bytes = ByteLevel::new(false, true, true);
        let mut untrained =
            TokenizerBuilder::<BPE, NormalizerWrapper, _, PostProcessorWrapper, _>::new()
                .with_model(BPE::default())
                .with_pre_tokenizer(Some(bytes))
                .with_decoder(Some(bytes))
                .build()?;
        untrained.train(trainer, texts.iter())?;
        Ok(untrained.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    const TEXTS: [&str; 3] = [
        "the whale and the sea, and the white whale of the sea",
        "See you there, then?\n\nThe other day\tthey saw the whale.",
        "Ångström naïve café über 42 000 μm",
    ];
    static TRAINED: LazyLock<Tokenizer> = LazyLock::new(|| train(&TEXTS));

    fn train(texts: &[&str]) -> Tokenizer {
        Tokenizer::train_byte_level_bpe(texts, 275, &SPECIALS).expect("trains")
    }

    fn encode(text: &str) -> Vec<usize> {
        TRAINED.encode(text).expect("encodes")
    }

    #[test]
    fn special_tokens_have_the_first_ids() {
        for (id, token) in SPECIALS.into_iter().enumerate() {
            assert_eq!(TRAINED.id(token), Some(id));
        }
        assert_eq!(TRAINED.id("[EOS]"), None);
        assert_eq!(TRAINED.vocabulary(), 275);
    }

    #[test]
    fn frequent_words_are_one_token() {
        let ids = encode("the whale");
        assert_eq!(ids.len(), 2);
        assert_eq!(TRAINED.id("Ġwhale"), Some(ids[1]));
    }

    #[test]
    fn texts_never_hold_special_tokens() {
        let ids = encode("[CLS] [SEP][MASK]");
        assert!(ids.iter().all(|&id| id >= SPECIALS.len()));
        assert_eq!(TRAINED.decode(&ids).expect("decodes"), "[CLS] [SEP][MASK]");
    }

    #[test]
    fn a_file_read_back_encodes_alike() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tokenizer.json");
        TRAINED.save(&path).expect("writes");
        let read = Tokenizer::load(&path).expect("reads");
        let text = "[SEP] the Whale\u{301}, then… 鯨";
        assert_eq!(read.encode(text).expect("encodes"), encode(text));
        assert_eq!(read.vocabulary(), TRAINED.vocabulary());
        let again = folder.path().join("again.json");
        read.save(&again).expect("writes");
        let bytes = |path: &Path| std::fs::read(path).expect("reads");
        assert_eq!(bytes(&path), bytes(&again));
    }

    /// The maps of the trainer are seeded anew each time, so an order of theirs
    /// that reached the vocabulary would show.
    #[test]
    fn training_is_reproducible_and_ignores_the_order_of_texts() {
        let json = |tokenizer: &Tokenizer| tokenizer.inner.to_string(true).expect("has a form");
        let [a, b, c] = TEXTS;
        for _ in 0..10 {
            assert_eq!(json(&train(&[a, b, c])), json(&TRAINED));
            assert_eq!(json(&train(&[c, a, b])), json(&TRAINED));
        }
    }

    #[test]
    fn a_vocabulary_without_room_for_the_bytes_is_refused() {
        let error = Tokenizer::train_byte_level_bpe(&TEXTS, 260, &SPECIALS);
        let expected =
            "vocabulary: expected at least 261, the bytes and the special tokens, found 260";
        assert_eq!(error.expect_err("refused").to_string(), expected);
    }

    #[test]
    fn files_that_cannot_encode_any_text_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tokenizer.json");
        let words_only = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
            "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,
            "decoder":null,"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"[UNK]"}}"#;
        for file in ["", "{}", words_only] {
            std::fs::write(&path, file).expect("writes");
            let error = Tokenizer::load(&path).expect_err("refused").to_string();
            let begin = format!(
                "{}: expected a tokenizer for any text, found ",
                path.display()
            );
            assert!(error.starts_with(&begin), "{error}");
        }
    }

    /// A long text is cut, as the library takes a hundred times its size.
    #[test]
    fn pieces_have_the_tokens_of_the_whole() {
        assert!(TRAINED.cut_at_lines);
        let text =
            "the whale\nand \n the sea\n\nof  the\nwhite 12\n3!\n?\t\n x\r\ny\n'd".repeat(20_000);
        assert!(fence::pieces(&text).len() > 1);
        let whole = Tokenizer {
            cut_at_lines: false,
            ..TRAINED.clone()
        };
        assert_eq!(encode(&text), whole.encode(&text).expect("encodes"));
    }

    proptest! {
        #[test]
        fn any_text_decodes_to_itself(text: String) {
            let ids = encode(&text);
            prop_assert!(ids.iter().all(|id| (5..275).contains(id)));
            prop_assert_eq!(TRAINED.decode(&ids).expect("decodes"), text);
        }
    }
}
