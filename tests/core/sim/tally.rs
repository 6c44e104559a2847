//! What happened in a world, counted.

/// How often what the laws speak of came to pass: a law about what never happens is none.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub steps: u64,
    pub connections: u64,
    /// Connections that ended in the middle of a packet of the session.
    pub torn: u64,
    pub sessions_lost: u64,
    pub sent: [u64; 3],
    pub repeated: u64,
    pub received: [u64; 3],
    pub refused: u64,
    pub dropped: u64,
    pub superseded: u64,
    pub paused: u64,
    pub pings: u64,
    pub found_dead: u64,
    pub not_answered: u64,
    pub ended_subscriptions: u64,
    /// Of MQTT 5: messages that the broker refused, that were too large for it, that expired; connections that it
    /// ended with a reason; what it limits; connections that had to speak 3.1.1.
    pub rejected: u64,
    pub too_large: u64,
    pub expired: u64,
    pub ended: u64,
    pub limited: u64,
    pub fallen_back: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        let Self { steps, connections, torn, sessions_lost, sent, repeated, received, .. } = self;
        *steps += other.steps;
        *connections += other.connections;
        *torn += other.torn;
        *sessions_lost += other.sessions_lost;
        *repeated += other.repeated;
        for (sum, more) in sent.iter_mut().chain(received).zip(other.sent.iter().chain(&other.received)) {
            *sum += more;
        }
        self.refused += other.refused;
        self.dropped += other.dropped;
        self.superseded += other.superseded;
        self.paused += other.paused;
        self.pings += other.pings;
        self.found_dead += other.found_dead;
        self.not_answered += other.not_answered;
        self.ended_subscriptions += other.ended_subscriptions;
        self.rejected += other.rejected;
        self.too_large += other.too_large;
        self.expired += other.expired;
        self.ended += other.ended;
        self.limited += other.limited;
        self.fallen_back += other.fallen_back;
    }

    /// That all of it happened often enough, about a fifth of what three million steps give.
    pub fn check(&self) {
        let enough = self.connections > 3000
            && self.torn > 200
            && self.sessions_lost > 1500
            && self.sent.iter().all(|count| *count > 5000)
            && self.repeated > 1000
            && self.received.iter().all(|count| *count > 4000)
            && self.refused > 50_000
            && self.dropped > 9000
            && self.superseded > 20_000
            && self.paused > 9000
            && self.pings > 600
            && self.found_dead > 400
            && self.not_answered > 150
            && self.ended_subscriptions > 700;
        assert!(enough, "too little has happened: {self:#?}");
    }

    /// As [`Self::check`], for MQTT 5.
    pub fn check_5(&self) {
        self.check();
        let enough = self.rejected > 1000
            && self.too_large > 150
            && self.expired > 1000
            && self.ended > 100
            && self.limited > 100;
        assert!(enough, "too little has happened: {self:#?}");
    }
}
