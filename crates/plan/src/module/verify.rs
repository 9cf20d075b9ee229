//! `verify`: the checks, made from the client they are about.

use super::shared::{Module, holders};
use crate::host::leaf::location as leaf_location;
use crate::playbook::Task;
use crate::{Change, Planner, Refusal, request_undeployed};
use inventory::{Host, Inventory};
use node::facts::FactRequest;
use pki::Role;

#[derive(Debug)]
pub struct Verify;

impl Module for Verify {
    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        request_undeployed(host, request);
        for role in [Role::Client, Role::Daemon] {
            for holder in holders(host, role) {
                let (directory, files) = leaf_location(holder, role);
                for name in [&files.ca, &files.cert] {
                    request.bundles.insert(format!("{directory}/{name}"));
                }
                request.accounts.extend(holder.owner().map(str::to_owned));
            }
        }
    }

    fn plan(&self, _: &mut Planner<'_>, _: &Host, _: &Task) -> Result<Vec<Change>, Refusal> {
        Ok(Vec::new())
    }
}
