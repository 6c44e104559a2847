//! The errors of reading YAML: sentences for the person who has to mend the file.

use std::fmt;

use super::node::Mark;

/// Why a document cannot be read. `Display` gives `file:line:column: what, and what to do`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct YamlError {
    file: String,
    mark: Mark,
    message: String,
}

impl YamlError {
    /// An error at a place of the text.
    pub(super) fn at(mark: Mark, message: impl Into<String>) -> Self {
        Self { file: String::new(), mark, message: message.into() }
    }

    /// An error about the text as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self::at(Mark::default(), message)
    }

    pub(super) fn in_file(mut self, name: &str) -> Self {
        name.clone_into(&mut self.file);
        self
    }

    /// Gives each error the name of the file that its mark is in.
    pub(super) fn in_files(self, names: &[String]) -> Self {
        match names.get(usize::from(self.mark.file)) {
            Some(name) => self.in_file(name),
            None => self,
        }
    }

    /// Says that the text is not the document itself, but the file of this number.
    pub(super) fn of_file(mut self, file: u16) -> Self {
        self.mark.file = file;
        self
    }

    /// The name of the file, as it was given to `load`.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column, from 1; `0:0` where the error is about the whole text.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// What is wrong, and what to do, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(out, "{}:", self.file)?;
        }
        if self.mark.line > 0 {
            write!(out, "{}:{}:", self.mark.line, self.mark.column)?;
        }
        if !self.file.is_empty() || self.mark.line > 0 {
            out.write_str(" ")?;
        }
        out.write_str(&self.message)
    }
}

/// What a problem of the scanner or parser means for the person who wrote the text. `found` is the character at
/// the place of the problem.
pub(super) fn explain(problem: &str, context: &str, found: Option<char>) -> String {
    let known = match problem {
        "found character that cannot start any token" => return cannot_start(found),
        "mapping values are not allowed in this context" => {
            "a second ':' on this line, or a key indented further than its neighbours; put a text that has ': ' in \
             it in quotes, or align this key with the others"
        }
        "could not find expected ':'" => {
            "this line is no 'key: value'; add the ':' and a space after it, or indent the line so that it belongs \
             to the value above"
        }
        "did not find expected key" => {
            "this line does not fit the lines above it; give it the same indentation as its neighbours, or close \
             the quote that a line above left open"
        }
        "did not find expected '-' indicator" => {
            "this line does not fit the list above it; start it with '- ' at the same indentation, or indent it less"
        }
        "block sequence entries are not allowed in this context" => {
            "a list cannot begin here; put the '- ' on a line of its own below the key"
        }
        "mapping keys are not allowed in this context" => {
            "a '? ' cannot stand here; put the text in quotes if it is meant as text"
        }
        "did not find expected ',' or ']'" => "the list in '[...]' is not closed; add the missing ',' or ']'",
        "did not find expected ',' or '}'" => {
            "the mapping in '{...}' is not closed; add the missing ',' or '}'"
        }
        "did not find expected node content" => {
            "a value is missing here; write it, or put the text in quotes if it is meant as text"
        }
        "found unexpected end of stream" => "a quoted text is not closed; add the missing quote at its end",
        "found unexpected document indicator" => {
            "a quoted text is not closed before '---' or '...'; add the missing quote at its end"
        }
        "found unknown escape character" => {
            "an unknown escape in a \"...\" text; write '\\\\' for a backslash, or use '...' quotes"
        }
        "did not find expected hexdecimal number" => {
            "an escape in a \"...\" text lacks hexadecimal digits; '\\x' takes 2, '\\u' takes 4, '\\U' takes 8"
        }
        "found invalid Unicode character escape code" => {
            "an escape in a \"...\" text names no Unicode character; half of a surrogate pair is none: write the \
             character itself, or '\\U' with 8 digits"
        }
        "found a tab character where an indentation space is expected"
        | "found a tab character that violates indentation" => {
            "a tab stands where indentation is expected; use spaces"
        }
        "found undefined tag handle" => {
            "a tag with an unknown prefix; write '!!name' for a standard tag, or put the text in quotes if the '!' \
             is meant as text"
        }
        "did not find expected alphabetic or numeric character" => {
            "the name of an anchor or alias is missing or has characters other than letters, digits, '-' and '_'; \
             put the text in quotes if the '&' or '*' is meant as text"
        }
        "did not find expected <document start>" => {
            "text after the end of the document; remove it, or the line that ends the document above it"
        }
        "found duplicate %YAML directive" | "found incompatible YAML document" => {
            "the %YAML line is not one of version 1.1 or stands twice; remove it"
        }
        "found duplicate %TAG directive" => "the same %TAG line stands twice; remove one",
        "found unexpected ':'" => {
            "a ':' without a space after it; put a space there, or put the text in quotes"
        }
        "found an indentation indicator equal to 0" => {
            "the digit after '|' or '>' must be 1 to 9; remove it, or write the number of spaces"
        }
        _ => "",
    };
    if !known.is_empty() {
        return known.into();
    }
    let context = if context.is_empty() { String::new() } else { format!(" {context}") };
    format!("this is not valid YAML: {problem}{context}; correct the text, or put it in quotes")
}

fn cannot_start(found: Option<char>) -> String {
    match found {
        Some('\t') => "a tab stands where spaces are expected; replace it by spaces".into(),
        Some(sign @ ('@' | '`' | '%' | '|' | '>')) => {
            format!("a text cannot begin with '{sign}' here; put it in quotes")
        }
        Some(sign @ ('\'' | '"')) => format!("a stray {sign}; put the whole text in quotes, or remove it"),
        _ => "this character cannot begin a value; put the text in quotes".into(),
    }
}
