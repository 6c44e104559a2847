//! Where libyaml takes what PyYAML refuses, or cannot read what PyYAML takes: checked and mended event by event.
//!
//! - A tab between tokens, or inside a plain text: libyaml takes it for white space.
//! - A `?` inside a plain text in `[...]` or `{...}`: libyaml takes it for text, PyYAML for the mark of a key.
//! - `[? ]` and `[? : v]`: libyaml takes the sign after the `?` for the key that is missing, and loses it.
//! - `|#` and `>#`: libyaml takes a comment without a space in front of it.
//! - A block text that ends with the file, without a line break: libyaml-safer panics there.

use libyaml_safer::{Event, EventData, MappingStyle, ScalarStyle, SequenceStyle};

const TAB: &str =
    "a tab stands where spaces are expected; replace it by spaces, or put a text with a tab in it in quotes";
const QUESTION_MARK: &str = "a text with a '?' in '[...]' or '{...}'; put it in quotes";
const LONE_QUESTION_MARK: &str =
    "a '?' in '[...]' without a key after it; write the key, or put the '?' in quotes";
const HEADER: &str = "a comment right after '|' or '>'; put a space in front of the '#'";

/// The text as it is given to the parser, and what is known about it.
pub(super) struct Strict<'a> {
    text: &'a str,
    has_tabs: bool,
    /// The last line break is not the file's: it was added for the parser's sake.
    break_added: bool,
    /// How many flow collections are open.
    flow: usize,
    /// The last event was the `?` of a pair in a flow sequence.
    question_mark: bool,
    /// Where the last event ended, in bytes.
    end: usize,
}

/// A position in the text, in bytes, and what is wrong there.
type Refusal = (usize, &'static str);

impl<'a> Strict<'a> {
    /// `break_added` says that the text's last line break is not the file's own.
    pub(super) fn new(text: &'a str, break_added: bool) -> Self {
        Self { text, has_tabs: text.contains('\t'), break_added, flow: 0, question_mark: false, end: 0 }
    }

    /// Checks one event, and gives a block text at the end of the file its value.
    pub(super) fn check(&mut self, event: &mut Event) -> Result<(), Refusal> {
        let at = |index: u64| usize::try_from(index).unwrap_or(usize::MAX).min(self.text.len());
        let start = at(event.start_mark.index);
        let end = at(event.end_mark.index).max(start);
        if self.has_tabs {
            if let Some(gap) = self.text.get(self.end..start) {
                refuse_tab(gap, self.end)?;
            }
            refuse_tab(&self.text[start..self.content(start, end)], start)?;
        }
        self.end = self.end.max(end);
        let after_question_mark = std::mem::take(&mut self.question_mark);
        match &mut event.data {
            EventData::Scalar { style: ScalarStyle::Plain, .. } if after_question_mark && start == end => {
                return Err((start, LONE_QUESTION_MARK));
            }
            EventData::SequenceStart { style: SequenceStyle::Flow, .. } => self.flow += 1,
            EventData::MappingStart { style: MappingStyle::Flow, .. } => {
                self.flow += 1;
                self.question_mark = self.text[start..].starts_with('?');
            }
            // Whatever is inside a flow collection is one too.
            EventData::SequenceEnd | EventData::MappingEnd => self.flow = self.flow.saturating_sub(1),
            EventData::Scalar { style: ScalarStyle::Plain, value, .. } => {
                if self.flow > 0 && value.contains('?') {
                    let content = self.content(start, end);
                    let position = self.text[content..end].find('?').unwrap_or(0);
                    return Err((content + position, QUESTION_MARK));
                }
                if self.has_tabs {
                    let content = self.content(start, end);
                    if let Some(tab) = self.text[content..end].find('\t') {
                        return Err((content + tab, TAB));
                    }
                }
            }
            EventData::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, value, .. } => {
                let content = self.content(start, end);
                let header = &self.text[content..end];
                let header = &header[..header.find(is_break).unwrap_or(header.len())];
                if header[1..]
                    .trim_start_matches(['+', '-'])
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .trim_start_matches(['+', '-'])
                    .starts_with('#')
                {
                    return Err((content + 1, HEADER));
                }
                refuse_tab(&header[..header.find('#').unwrap_or(header.len())], content)?;
                if self.break_added && end == self.text.len() {
                    self.take_break_back(value, header);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the content of a node begins, behind its tag, its anchor and comments between them.
    fn content(&self, start: usize, end: usize) -> usize {
        let node = &self.text[start..end];
        let mut rest = node;
        while rest.starts_with(['!', '&', '#']) {
            let stop = if rest.starts_with('#') { rest.find(is_break) } else { rest.find(is_blank_or_break) };
            rest = stop.map_or("", |stop| rest[stop..].trim_start_matches(is_blank_or_break));
        }
        end - rest.len()
    }

    /// Removes the added line break from the value of a block text, if it is in it.
    fn take_break_back(&self, value: &mut String, header: &str) {
        let keeps_all = header.split('#').next().is_some_and(|indicators| indicators.contains('+'));
        let before = &self.text[..self.text.len() - 1];
        let last_line = before.rsplit(is_break).next().unwrap_or_default();
        // A last line of spaces only is part of the text where some of them stand behind the indentation.
        let is_content = !last_line.trim_matches(' ').is_empty()
            || value.lines().last().is_some_and(|line| !line.is_empty() && line.trim_matches(' ').is_empty());
        if (keeps_all || is_content) && value.ends_with('\n') {
            value.pop();
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank_or_break(c: char) -> bool {
    matches!(c, ' ' | '\t') || is_break(c)
}

/// Refuses a tab outside comments. `offset` is the position of the text.
fn refuse_tab(text: &str, offset: usize) -> Result<(), Refusal> {
    let mut position = offset;
    for line in text.split_inclusive(is_break) {
        if let Some(tab) = line[..line.find('#').unwrap_or(line.len())].find('\t') {
            return Err((position + tab, TAB));
        }
        position += line.len();
    }
    Ok(())
}

/// Whether a text ends with a line break of its own.
pub(super) fn ends_with_break(text: &str) -> bool {
    text.is_empty() || text.ends_with(is_break)
}
