//! Dates and times: YAML 1.1's forms, checked as Python's `datetime` checks them.

use std::fmt;

/// A calendar date, valid in Python's sense: year 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// 1 to 9999
    pub year: u16,
    /// 1 to 12
    pub month: u8,
    /// 1 to 31
    pub day: u8,
}

/// A point in time with a resolution of a microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// The date.
    pub date: Date,
    /// 0 to 23
    pub hour: u8,
    /// 0 to 59
    pub minute: u8,
    /// 0 to 59
    pub second: u8,
    /// 0 to 999,999
    pub microsecond: u32,
    /// Minutes east of UTC, less than a day either way; `None` for a naive time.
    pub offset: Option<i16>,
}

impl fmt::Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for DateTime {
    /// As Python's `isoformat(" ")`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {:02}:{:02}:{:02}", self.date, self.hour, self.minute, self.second)?;
        if self.microsecond > 0 {
            write!(out, ".{:06}", self.microsecond)?;
        }
        if let Some(offset) = self.offset {
            let sign = if offset < 0 { '-' } else { '+' };
            write!(out, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)?;
        }
        Ok(())
    }
}

/// The fields of a timestamp as they stand in the text.
pub(super) struct Parts {
    year: u16,
    month: u8,
    day: u8,
    time: Option<Time>,
    /// Month and day have two digits each: only then a date without a time is one by its look.
    full_date: bool,
}

struct Time {
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
    /// Sign, hours, minutes.
    zone: Option<(bool, u8, u8)>,
}

/// A date or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Date(Date),
    DateTime(DateTime),
}

impl Parts {
    /// Reads the text of a timestamp; `None` if it does not have the form of one.
    pub(super) fn scan(text: &str) -> Option<Self> {
        let mut rest = Cursor(text.strip_suffix('\n').unwrap_or(text).as_bytes());
        let year = rest.number(4, 4)?;
        rest.sign(b'-')?;
        let (month, month_digits) = rest.counted(1, 2)?;
        rest.sign(b'-')?;
        let (day, day_digits) = rest.counted(1, 2)?;
        let mut time = None;
        if !rest.0.is_empty() {
            if rest.sign(b'T').or_else(|| rest.sign(b't')).is_none() && !rest.blanks() {
                return None;
            }
            time = Some(Time::scan(&mut rest)?);
        }
        let full_date = month_digits == 2 && day_digits == 2;
        let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
        rest.0.is_empty().then_some(Self { year, month, day, time, full_date })
    }

    /// Whether a plain scalar of this form is a timestamp without being tagged as one.
    pub(super) fn is_implicit(&self) -> bool {
        self.time.is_some() || self.full_date
    }

    /// The moment, if there is such a one.
    pub(super) fn moment(&self) -> Option<Moment> {
        let date = Date { year: self.year, month: self.month, day: self.day };
        let every = |years: u16| date.year.is_multiple_of(years);
        let leap = every(4) && (!every(100) || every(400));
        let days = match date.month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        if date.year == 0 || date.day == 0 || date.day > days {
            return None;
        }
        let Some(time) = &self.time else { return Some(Moment::Date(date)) };
        if time.hour > 23 || time.minute > 59 || time.second > 59 {
            return None;
        }
        let offset = match time.zone {
            None => None,
            Some((negative, hours, minutes)) => {
                let offset = i16::from(hours) * 60 + i16::from(minutes);
                if offset >= 24 * 60 {
                    return None;
                }
                Some(if negative { -offset } else { offset })
            }
        };
        let Time { hour, minute, second, microsecond, .. } = *time;
        Some(Moment::DateTime(DateTime { date, hour, minute, second, microsecond, offset }))
    }
}

impl Time {
    fn scan(rest: &mut Cursor<'_>) -> Option<Self> {
        let hour = rest.small(1, 2)?;
        rest.sign(b':')?;
        let minute = rest.small(2, 2)?;
        rest.sign(b':')?;
        let second = rest.small(2, 2)?;
        let mut microsecond = 0;
        if rest.sign(b'.').is_some() {
            let digits = rest.digits();
            for place in 0..6 {
                let digit = digits.get(place).map_or(0, |digit| digit - b'0');
                microsecond = microsecond * 10 + u32::from(digit);
            }
        }
        let mut zone = None;
        if !rest.0.is_empty() {
            rest.blanks();
            if rest.sign(b'Z').is_some() {
                zone = Some((false, 0, 0));
            } else {
                let negative = rest.sign(b'-').is_some();
                if !negative {
                    rest.sign(b'+')?;
                }
                let hours = rest.small(1, 2)?;
                let minutes = if rest.sign(b':').is_some() { rest.small(2, 2)? } else { 0 };
                zone = Some((negative, hours, minutes));
            }
        }
        Some(Self { hour, minute, second, microsecond, zone })
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn sign(&mut self, sign: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[sign])?;
        Some(())
    }

    fn blanks(&mut self) -> bool {
        let blanks = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.0 = &self.0[blanks..];
        blanks > 0
    }

    fn digits(&mut self) -> &'a [u8] {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        digits
    }

    fn counted(&mut self, least: usize, most: usize) -> Option<(u16, usize)> {
        let count = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        Some((digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')), count))
    }

    fn number(&mut self, least: usize, most: usize) -> Option<u16> {
        self.counted(least, most).map(|(number, _)| number)
    }

    fn small(&mut self, least: usize, most: usize) -> Option<u8> {
        u8::try_from(self.number(least, most)?).ok()
    }
}
