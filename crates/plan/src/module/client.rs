//! `client`: `DOCKER_HOST` and `DOCKER_TLS_VERIFY`, or `DOCKER_TLS`, in the login
//! shell's profile.

use super::shared::{Module, is_absent};
use crate::host::address::daemon_address;
use crate::host::client::{PROFILES, leads_to_daemon_of, names_files_of, own_blocks};
use crate::playbook::Task;
use crate::{Change, Content, Desired, Place, Planner, Refusal};
use docker::environment::{Environment, found, with_block};
use inventory::{ClientEnv, Host, Inventory};
use node::facts::{FactRequest, NodeFacts};

#[derive(Debug)]
pub struct Client;

impl Module for Client {
    fn facts(&self, _: &Inventory, _: &Host, _: &Task, request: &mut FactRequest) {
        request.directories.insert("~".to_owned());
        for profile in PROFILES {
            request.content.insert(format!("~/{profile}"));
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let facts = planner.facts(&host.name)?;
        let environment =
            if !is_absent(task) && host.settings.client_env.contains(&ClientEnv::Profile) {
                Some(environment(planner.inventory, host, facts)?)
            } else {
                None
            };
        let name = PROFILES
            .into_iter()
            .find(|profile| facts.regular(&format!("~/{profile}")).is_some())
            .unwrap_or(".profile");
        let path = format!("~/{name}");
        let old = match facts.regular(&path) {
            Some(_) => facts.text(&path).ok_or_else(|| {
                Refusal::new(format!("{} is not UTF-8 text", facts.expand(&path)))
            })?,
            None => "",
        };
        if is_of_another(planner, host, facts, old) && !host.settings.take_over {
            if environment.is_none() {
                return Ok(Vec::new());
            }
            return Err(Refusal::new(format!(
                "the block in {} is of another inventory called {}: it leads to a daemon that is not one of this inventory's, with another client's files",
                facts.expand(&path),
                planner.inventory.name
            ))
            .hint("leave `profile` out of dtls_client_env in one of the two inventories, or take the block over with -e dtls_take_over=true"));
        }
        let name_of_inventory = &planner.inventory.name;
        let former = own_blocks(old, planner.inventory, host, facts);
        let former = former.into_iter().filter(|name| name != name_of_inventory);
        let text = former
            .map(|name| (name, None))
            .chain([(name_of_inventory.as_str(), environment.as_ref())])
            .try_fold(old.to_owned(), |text, (name, block)| {
                with_block(&text, name, block)
            })
            .map_err(|error| {
                Refusal::new(format!("{}: {error}", facts.expand(&path)))
                    .hint("make the block whole again, or take its lines out")
            })?;
        if text == old {
            return Ok(Vec::new());
        }
        let desired = Desired::new(
            Place::Profile,
            "~",
            name,
            // The others are never made here: an empty one was there before.
            if is_absent(task) && text.is_empty() && name == ".profile" {
                Content::Gone { prune: 0 }
            } else {
                Content::Text(text)
            },
        )
        .because(vec!["environment of the docker CLI".to_owned()]);
        Ok(planner.compare(host, task, desired)?.into_iter().collect())
    }
}

/// Whether the block with this inventory's name was written by another inventory whose file has the
/// same name: it names other files than this client's, and a daemon on no host of this inventory.
/// Files in the same directory are distinguished by their certificates, when they are delivered.
fn is_of_another(planner: &Planner<'_>, host: &Host, facts: &NodeFacts, profile: &str) -> bool {
    let Some(block) = found(profile, &planner.inventory.name) else {
        return false;
    };
    !names_files_of(&block, host, facts) && !leads_to_daemon_of(&block, planner.inventory)
}

fn environment(
    inventory: &Inventory,
    host: &Host,
    facts: &NodeFacts,
) -> Result<Environment, Refusal> {
    let daemon = match &host.settings.default_daemon {
        Some(name) => inventory.host(name),
        None => inventory.daemons().next(),
    }
    .ok_or_else(|| Refusal::new("there is no daemon for DOCKER_HOST"))?;
    let directory = facts.expand(&host.settings.client_dir);
    Ok(Environment {
        host: daemon_address(daemon).url(),
        checks_daemon: host.settings.client_mode.checks_daemon(),
        certificate_path: (directory != facts.expand("~/.docker")).then_some(directory),
    })
}
