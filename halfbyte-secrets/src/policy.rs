use std::time::Duration;

use halfbyte_core::live;

/// How current a secret is kept, and what else is promised of it.
///
/// ```
/// use std::time::Duration;
/// use halfbyte_secrets::{Policy, live};
///
/// let fast = Policy::from(live::Policy { fresh_for: Duration::from_secs(60), ..live::Policy::default() });
/// assert_eq!(fast.rotation_window(Duration::from_secs(600)).live.fresh_for, Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// When it is fetched, for how long it is served without, and whether the process is ready without it.
    pub live: live::Policy,
    /// For how long the value before the current one is remembered; see [`Secret::previous`](crate::Secret::previous).
    /// Default 1 hour.
    pub rotation_window: Duration,
    /// Whether the value before the current one is asked for at start, where the backend has it: one more read. For those who
    /// verify with it, since what was made with it just before the start is still about. Default false.
    pub previous_at_start: bool,
    /// Whether a [rejected](crate::Secret::reject) value may give way to the backend's [previous](crate::Stage::Previous) one,
    /// also where this process has not itself gone on from that within the `rotation_window`. A value may have been replaced
    /// because it is known to others, and who can make a service answer 401 can then bring it back for a while. Default false.
    pub fall_back_to_previous: bool,
    /// Whether an encrypted copy may be kept for a start without the backend, where there is a
    /// `BootSnapshot`. Leased values never are. Default true.
    pub snapshot: bool,
}

impl Default for Policy {
    fn default() -> Self {
        live::Policy::default().into()
    }
}

impl From<live::Policy> for Policy {
    fn from(live: live::Policy) -> Self {
        Self {
            live,
            rotation_window: Duration::from_secs(3600),
            previous_at_start: false,
            fall_back_to_previous: false,
            snapshot: true,
        }
    }
}

impl Policy {
    /// The same with another [`rotation_window`](Self::rotation_window).
    #[must_use]
    pub fn rotation_window(mut self, window: Duration) -> Self {
        self.rotation_window = window;
        self
    }

    /// The same, with the value before the current one asked for at start.
    #[must_use]
    pub fn previous_at_start(mut self) -> Self {
        self.previous_at_start = true;
        self
    }

    /// The same, with the value before the current one in place of one that is rejected; see
    /// [the field](Self::fall_back_to_previous).
    #[must_use]
    pub fn fall_back_to_previous(mut self) -> Self {
        self.fall_back_to_previous = true;
        self
    }

    /// The same, for a secret that some requests need: the process is ready without it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.live.required = false;
        self
    }

    /// The same, without a copy on this machine.
    #[must_use]
    pub fn never_on_disk(mut self) -> Self {
        self.snapshot = false;
        self
    }
}
