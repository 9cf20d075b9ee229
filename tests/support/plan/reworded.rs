//! A plan with every text replaced.

use plan::Action;
use plan::orchestrator::{Examined, Refused};

/// Whatever is decided on it must come out the same.
pub fn reworded(mut examined: Examined) -> Examined {
    fn reword(text: &mut String) {
        // One for each, and no word of any.
        *text = format!("{:x?}", text.as_bytes());
    }
    for Refused { refusal, .. } in &mut examined.refusals {
        reword(&mut refusal.message);
        refusal.hint.iter_mut().for_each(reword);
    }
    for note in &mut examined.notes {
        reword(&mut note.text);
    }
    let hosts = examined
        .plan
        .plays
        .iter_mut()
        .flat_map(|play| &mut play.hosts);
    let planned = hosts.flat_map(|host| &mut host.batches);
    let planned = planned.flat_map(|batch| &mut batch.changes);
    for change in examined.changes.iter_mut().chain(planned) {
        reword(&mut change.task);
        reword(&mut change.subject);
        // These are made from what is there as a type.
        let typed: Vec<String> = match &change.action {
            Action::File(file) => file.attributes.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let reasons = change.reasons.iter_mut();
        reasons
            .filter(|reason| !typed.contains(reason))
            .for_each(reword);
    }
    examined
}
