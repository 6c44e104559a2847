//! Tabs: libyaml takes them for white space between tokens and inside plain texts, PyYAML refuses them there.

use libyaml_safer::{Event, EventData, ScalarStyle};

/// Finds the tabs that PyYAML refuses, event by event. Only made for texts that hold a tab.
pub(super) struct TabCheck<'a> {
    text: &'a str,
    /// Where the last event ended, in bytes.
    end: usize,
}

impl<'a> TabCheck<'a> {
    pub(super) fn new(text: &'a str) -> Option<Self> {
        text.contains('\t').then_some(Self { text, end: 0 })
    }

    /// The position of a refused tab between the last event and the end of this one.
    pub(super) fn refused(&mut self, event: &Event) -> Option<usize> {
        let at = |index: u64| usize::try_from(index).unwrap_or(usize::MAX).min(self.text.len());
        let start = at(event.start_mark.index);
        let end = at(event.end_mark.index).max(start);
        if start > self.end
            && let Some(tab) = outside_comments(&self.text[self.end..start])
        {
            return Some(self.end + tab);
        }
        self.end = self.end.max(end);
        let mut inside = &self.text[start..end];
        // Tags and anchors stand in front of the content and belong to its event.
        while inside.starts_with(['!', '&']) {
            let property = inside.find([' ', '\t', '\r', '\n', '\u{85}', '\u{2028}', '\u{2029}']);
            inside = property.map_or("", |length| &inside[length..]);
            let content = inside.find(|c: char| !c.is_whitespace()).unwrap_or(inside.len());
            if let Some(tab) = inside[..content].find('\t') {
                return Some(end - inside.len() + tab);
            }
            inside = &inside[content..];
            if inside.starts_with('#') {
                let line = inside.find(['\r', '\n']).unwrap_or(inside.len());
                inside = inside[line..].trim_start_matches([' ', '\r', '\n']);
            }
        }
        let refusable = match &event.data {
            EventData::Scalar { style: ScalarStyle::Plain, .. } => inside,
            // The header of a block scalar, up to a comment or the end of its line.
            EventData::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } => {
                &inside[..inside.find(['#', '\r', '\n']).unwrap_or(inside.len())]
            }
            _ => "",
        };
        outside_comments(refusable).map(|tab| end - inside.len() + tab)
    }
}

fn outside_comments(text: &str) -> Option<usize> {
    let mut position = 0;
    for line in text.split_inclusive(['\r', '\n']) {
        let comment = line.find('#').unwrap_or(line.len());
        if let Some(tab) = line[..comment].find('\t') {
            return Some(position + tab);
        }
        position += line.len();
    }
    None
}
