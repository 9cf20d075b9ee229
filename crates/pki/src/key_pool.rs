//! Keys that are generated before they are asked for, on the other cores.
//!
//! An RSA key takes a second, so that a new CA and its first leaves are waited for together and not
//! one after the other. Keys are in memory alone; those that no one asked for are dropped, which
//! overwrites them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::keyfile::{PrivateKey, generate};
use super::profile::KeyType;
use crate::key_error::KeyFileError;

/// Keys in the making.
#[derive(Default)]
pub(crate) struct KeyPool {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    /// Not begun.
    wanted: VecDeque<KeyType>,
    /// Begun by a thread of the pool.
    begun: Vec<KeyType>,
    ready: Vec<(KeyType, Result<PrivateKey, KeyFileError>)>,
    /// Promised to someone who waits for one that is begun.
    promised: Vec<KeyType>,
    /// A task that takes keys generates on every core by itself.
    taken_from: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one thread of the pool does.
    fn work(&self) {
        loop {
            let mut state = self.state();
            if state.taken_from {
                return;
            }
            let Some(key_type) = state.wanted.pop_front() else {
                return;
            };
            state.begun.push(key_type);
            drop(state);
            let key = generate(key_type);
            let mut state = self.state();
            remove(&mut state.begun, key_type);
            state.ready.push((key_type, key));
            drop(state);
            self.finished.notify_all();
        }
    }
}

impl KeyPool {
    /// Begins to generate, on all cores but the caller's; returns at once.
    pub(crate) fn begin(&self, keys: impl IntoIterator<Item = KeyType>) {
        let mut state = self.shared.state();
        state.wanted.extend(keys);
        state.taken_from = false;
        let others = thread::available_parallelism().map_or(1, usize::from) - 1;
        let threads = others.min(state.wanted.len());
        drop(state);
        for _ in 0..threads {
            let shared = Arc::clone(&self.shared);
            // Where there is no thread to be had, the task that takes a key makes it.
            drop(thread::Builder::new().spawn(move || shared.work()));
        }
    }

    /// A key of this type: one that is ready, or being made, or a new one.
    pub(crate) fn take(&self, key_type: KeyType) -> Result<PrivateKey, KeyFileError> {
        let mut state = self.shared.state();
        state.taken_from = true;
        loop {
            if let Some(index) = state.ready.iter().position(|(of, _)| *of == key_type) {
                return state.ready.swap_remove(index).1;
            }
            if let Some(index) = state.wanted.iter().position(|of| *of == key_type) {
                state.wanted.remove(index);
                break;
            }
            if count(&state.begun, key_type) <= count(&state.promised, key_type) {
                break;
            }
            state.promised.push(key_type);
            state = self
                .shared
                .finished
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            remove(&mut state.promised, key_type);
        }
        drop(state);
        generate(key_type)
    }
}

fn count(types: &[KeyType], key_type: KeyType) -> usize {
    types.iter().filter(|of| **of == key_type).count()
}

fn remove(types: &mut Vec<KeyType>, key_type: KeyType) {
    if let Some(index) = types.iter().position(|of| *of == key_type) {
        types.swap_remove(index);
    }
}

impl Drop for KeyPool {
    fn drop(&mut self) {
        self.shared.state().wanted.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_is_of_its_type_and_given_out_once() {
        let pool = KeyPool::default();
        let announced = [KeyType::EcdsaP256, KeyType::Rsa2048, KeyType::EcdsaP256];
        pool.begin(announced);
        // One more than was announced, all at once.
        let asked = [announced.as_slice(), &[KeyType::Rsa2048]].concat();
        let keys: Vec<PrivateKey> = thread::scope(|scope| {
            let takers: Vec<_> = asked
                .iter()
                .map(|key_type| scope.spawn(|| pool.take(*key_type).unwrap()))
                .collect();
            takers
                .into_iter()
                .map(|taker| taker.join().unwrap())
                .collect()
        });
        let types: Vec<KeyType> = keys.iter().map(PrivateKey::key_type).collect();
        assert_eq!(types, asked);
        let distinct: BTreeSet<String> = keys.iter().map(PrivateKey::public_key_sha256).collect();
        assert_eq!(distinct.len(), keys.len());
        let state = pool.shared.state();
        assert!(state.wanted.is_empty() && state.begun.is_empty() && state.ready.is_empty());
    }

    #[test]
    fn a_key_that_was_made_ahead_is_the_one_that_is_given() {
        let pool = KeyPool::default();
        pool.begin([KeyType::EcdsaP256]);
        pool.shared.work();
        let ahead = loop {
            let state = pool.shared.state();
            if let Some((_, Ok(key))) = state.ready.first() {
                break key.public_key_sha256();
            }
            drop(state);
            thread::yield_now();
        };
        assert_eq!(
            pool.take(KeyType::EcdsaP256).unwrap().public_key_sha256(),
            ahead
        );
    }
}
