//! An outbox and a destination in memory, which fail when told to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halfbyte_core::TenantId;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::{BoxFuture, Destination, Exported, Outbox, Position, SendError};
use crate::{Error, ErrorKind, Event};

pub(super) fn event(id: &str, data: &str) -> Event {
    Event {
        source: "/test".into(),
        id: id.into(),
        kind: "com.example.request".into(),
        subject: "key-1".into(),
        time: "2030-01-01T00:00:00Z".parse().expect("a time"),
        data: data.into(),
    }
}

pub(super) fn exported(event: Event) -> Exported {
    Exported::new(TenantId::new("acme").expect("an id"), event)
}

/// Events, claims that expire, and positions.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: Vec<Event>,
    claims: HashMap<String, (Uuid, Instant)>,
    positions: HashMap<String, usize>,
    /// How often the claim was taken or renewed.
    claimed: u32,
    is_down: bool,
    /// The next so many positions get lost on their way to the store.
    advances_to_fail: u32,
    /// The answers to the next so many get lost on their way back.
    answers_to_lose: u32,
}

impl Memory {
    pub(super) fn with(events: usize) -> Self {
        let memory = Self::default();
        memory.add(events);
        memory
    }

    pub(super) fn add(&self, events: usize) {
        let mut state = self.lock();
        let first = state.events.len();
        state.events.extend((first..first + events).map(|id| event(&id.to_string(), "")));
    }

    pub(super) fn position(&self, name: &str) -> usize {
        self.lock().positions.get(name).copied().unwrap_or(0)
    }

    pub(super) fn claimed(&self) -> u32 {
        self.lock().claimed
    }

    /// Whether somebody has the claim now.
    pub(super) fn is_held(&self, name: &str) -> bool {
        self.lock().claims.get(name).is_some_and(|(_, until)| *until > Instant::now())
    }

    /// Hands the claim to somebody else, who does nothing with it.
    pub(super) fn steal(&self, name: &str, ttl: Duration) {
        self.lock().claims.insert(name.to_owned(), (Uuid::now_v7(), Instant::now() + ttl));
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    pub(super) fn fail_advances(&self, times: u32) {
        self.lock().advances_to_fail = times;
    }

    pub(super) fn lose_answers(&self, times: u32) {
        self.lock().answers_to_lose = times;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.is_down { Err(Error::new(ErrorKind::Unavailable, "the store is down")) } else { Ok(state) }
    }
}

fn number(position: &Position) -> usize {
    if *position == Position::START { 0 } else { position.as_str().parse().expect("a position of ours") }
}

impl Outbox for Memory {
    fn claim<'a>(
        &'a self,
        name: &'a str,
        holder: Uuid,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Option<Position>, Error>> {
        Box::pin(async move {
            let mut state = self.up()?;
            let now = Instant::now();
            if state.claims.get(name).is_some_and(|(other, until)| *other != holder && *until > now) {
                return Ok(None);
            }
            state.claimed += 1;
            state.claims.insert(name.to_owned(), (holder, now + ttl));
            let at = state.positions.get(name).copied().unwrap_or(0);
            Ok(Some(if at == 0 { Position::START } else { Position::new(&at.to_string()) }))
        })
    }

    fn read<'a>(&'a self, after: &'a Position, limit: usize) -> BoxFuture<'a, Result<Vec<Exported>, Error>> {
        Box::pin(async move {
            let state = self.up()?;
            let after = number(after);
            let events = state.events.iter().enumerate().skip(after).take(limit);
            let tenant = TenantId::new("acme").expect("an id");
            let position = |index: usize| Position::new(&(index + 1).to_string());
            Ok(events.map(|(index, event)| Exported::at(position(index), tenant.clone(), event.clone())).collect())
        })
    }

    fn advance<'a>(&'a self, name: &'a str, holder: Uuid, to: &'a Position) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut state = self.up()?;
            if state.advances_to_fail > 0 {
                state.advances_to_fail -= 1;
                return Err(Error::new(ErrorKind::Unavailable, "the connection broke"));
            }
            if state.claims.get(name).is_none_or(|(other, _)| *other != holder) {
                return Ok(false);
            }
            state.positions.insert(name.to_owned(), number(to));
            if state.answers_to_lose > 0 {
                state.answers_to_lose -= 1;
                return Err(Error::new(ErrorKind::Unavailable, "the connection broke"));
            }
            Ok(true)
        })
    }
}

/// A destination that remembers what it was sent.
#[derive(Clone)]
pub(super) struct Sink(Arc<SinkState>);

struct SinkState {
    /// Changes with each request.
    requests: watch::Sender<Vec<Request>>,
    script: Mutex<Script>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) at: Instant,
    pub(super) ids: Vec<String>,
    /// How many of them it answered are safe; none while it has not answered.
    pub(super) safe: usize,
}

#[derive(Default)]
struct Script {
    /// What the next requests are answered; then all is accepted.
    answers: VecDeque<Result<usize, SendError>>,
    /// An event that is refused for good.
    poison: Option<String>,
    takes: Duration,
}

impl Default for Sink {
    fn default() -> Self {
        Self(Arc::new(SinkState { requests: watch::Sender::default(), script: Mutex::default() }))
    }
}

impl Sink {
    pub(super) fn answer(&self, answers: impl IntoIterator<Item = Result<usize, SendError>>) {
        self.script().answers.extend(answers);
    }

    pub(super) fn set_poison(&self, id: Option<&str>) {
        self.script().poison = id.map(str::to_owned);
    }

    /// How long each request takes from now on.
    pub(super) fn takes(&self, time: Duration) {
        self.script().takes = time;
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.0.requests.borrow().clone()
    }

    /// The ids of all that it was sent, in order.
    pub(super) fn ids(&self) -> Vec<String> {
        self.requests().into_iter().flat_map(|request| request.ids).collect()
    }

    /// Waits for so many requests in all.
    pub(super) async fn reached(&self, requests: usize) {
        let mut receiver = self.0.requests.subscribe();
        let _sender_is_alive = receiver.wait_for(|seen| seen.len() >= requests).await.is_ok();
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination for Sink {
    fn send<'a>(&'a self, events: &'a [Exported]) -> BoxFuture<'a, Result<usize, SendError>> {
        Box::pin(async move {
            let ids: Vec<String> = events.iter().map(|exported| exported.event().id.to_string()).collect();
            let (answer, takes) = {
                let mut script = self.script();
                let poisoned = script.poison.as_ref().is_some_and(|poison| ids.contains(poison));
                let refused = poisoned.then(|| Err(SendError::refused("422 unknown meter")));
                (refused.or_else(|| script.answers.pop_front()).unwrap_or(Ok(events.len())), script.takes)
            };
            let index = self.requests().len();
            let request = Request { at: Instant::now(), ids, safe: 0 };
            self.0.requests.send_modify(|requests| requests.push(request));
            tokio::time::sleep(takes).await;
            let safe = *answer.as_ref().unwrap_or(&0);
            self.0.requests.send_modify(|requests| requests[index].safe = safe.min(events.len()));
            answer
        })
    }
}
