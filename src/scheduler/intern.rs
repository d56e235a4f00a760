//! Shares what many views have in common: schedules, crontabs, names of refresh groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::crontab::{Crontab, CrontabError};
use super::schedule::Schedule;
use super::view::GroupId;

/// Crontab text by time zone name by text.
type Crontabs = HashMap<Box<str>, HashMap<Box<str>, Arc<Crontab>>>;

/// Hands out one copy of equal things, and parses each crontab once.
#[derive(Debug, Default)]
pub struct Interner {
    crontabs: Crontabs,
    schedules: HashSet<Arc<Schedule>>,
    group_ids: HashMap<Arc<str>, GroupId>,
    group_names: Vec<Arc<str>>,
}

impl Interner {
    /// The shared schedule of this rate and this crontab (its text and the name of its time zone).
    pub fn schedule(
        &mut self,
        rate: Option<Duration>,
        cron: Option<(&str, &str)>,
    ) -> Result<Arc<Schedule>, CrontabError> {
        let cron = cron
            .map(|(text, zone)| self.crontab(text, zone))
            .transpose()?;
        let schedule = Schedule { rate, cron };
        if let Some(known) = self.schedules.get(&schedule) {
            return Ok(Arc::clone(known));
        }
        let schedule = Arc::new(schedule);
        self.schedules.insert(Arc::clone(&schedule));
        Ok(schedule)
    }

    fn crontab(&mut self, text: &str, zone: &str) -> Result<Arc<Crontab>, CrontabError> {
        if let Some(known) = self.crontabs.get(zone).and_then(|zone| zone.get(text)) {
            return Ok(Arc::clone(known));
        }
        let crontab = Arc::new(Crontab::parse(text, zone)?);
        self.crontabs
            .entry(zone.into())
            .or_default()
            .insert(text.into(), Arc::clone(&crontab));
        Ok(crontab)
    }

    /// The number of the refresh group of this name, the same for the same name.
    pub fn group(&mut self, name: &str) -> GroupId {
        if let Some(known) = self.group_ids.get(name) {
            return *known;
        }
        let id = GroupId(u32::try_from(self.group_names.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = name.into();
        self.group_names.push(Arc::clone(&name));
        self.group_ids.insert(name, id);
        id
    }

    /// The name behind a group's number.
    #[must_use]
    pub fn group_name(&self, id: GroupId) -> Option<&str> {
        self.group_names
            .get(usize::try_from(id.0).ok()?)
            .map(AsRef::as_ref)
    }

    /// Drops the schedules and crontabs that no view uses any more; worth a call now and then.
    pub fn forget_unused(&mut self) {
        self.schedules
            .retain(|schedule| Arc::strong_count(schedule) > 1);
        self.crontabs.retain(|_, zone| {
            zone.retain(|_, crontab| Arc::strong_count(crontab) > 1);
            !zone.is_empty()
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn equal_schedules_are_one() {
        let mut interner = Interner::default();
        let one = interner
            .schedule(MINUTE, Some(("0 3 * * *", "UTC")))
            .unwrap();
        let same = interner
            .schedule(MINUTE, Some(("0 3 * * *", "UTC")))
            .unwrap();
        let other_zone = interner
            .schedule(MINUTE, Some(("0 3 * * *", "Europe/Berlin")))
            .unwrap();
        let no_rate = interner.schedule(None, Some(("0 3 * * *", "UTC"))).unwrap();
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other_zone));
        assert!(Arc::ptr_eq(
            one.cron.as_ref().unwrap(),
            no_rate.cron.as_ref().unwrap()
        ));
    }

    #[test]
    fn what_no_view_uses_is_forgotten() {
        let mut interner = Interner::default();
        let kept = interner
            .schedule(MINUTE, Some(("0 3 * * *", "UTC")))
            .unwrap();
        drop(
            interner
                .schedule(MINUTE, Some(("0 4 * * *", "UTC")))
                .unwrap(),
        );
        interner.forget_unused();
        assert_eq!(interner.schedules.len(), 1);
        assert_eq!(interner.crontabs["UTC"].len(), 1);
        drop(kept);
        interner.forget_unused();
        assert!(interner.schedules.is_empty() && interner.crontabs.is_empty());
    }

    #[test]
    fn a_bad_crontab_is_an_error_and_leaves_nothing_behind() {
        let mut interner = Interner::default();
        assert!(
            interner
                .schedule(MINUTE, Some(("75 * * * *", "UTC")))
                .is_err()
        );
        assert!(interner.schedules.is_empty() && interner.crontabs.is_empty());
    }

    #[test]
    fn groups_have_stable_numbers_and_keep_their_names() {
        let mut interner = Interner::default();
        let sales = interner.group("sales");
        let stock = interner.group("stock");
        assert_ne!(sales, stock);
        assert_eq!(interner.group("sales"), sales);
        assert_eq!(interner.group_name(stock), Some("stock"));
        assert_eq!(interner.group_name(GroupId(7)), None);
    }
}
