# Two commands for everyone: `make lab` and `make test`. Both need cargo and
# root, and install what else they need.

BUILT = target/$(shell rustc -vV | sed -n 's/^host: //p')
PROGRAM = $(BUILT)/debug/dtls-deploy
LAB = tests/lab/lab

.PHONY: all lab lab-down test vagrant-test unit fuzz faults equivalent fmt lint deny bench compare scale release package reproduce lint-packaging docs prepare

all:
	cargo build

# Brings the lab up with fresh nodes, deploys, and shows the checks.
lab: prepare
	cargo build
	$(LAB) up
	$(LAB) reset
	DTLS_CA_PASSPHRASE=$${DTLS_CA_PASSPHRASE:-only-for-the-lab} \
		$(LAB) run $(PROGRAM) inventory/lab.yaml --yes

lab-down:
	$(LAB) down

# Every test, end to end ones on the lab included.
test: prepare
	tests/run

# `vagrant up --provider=libvirt` on machines that are emulated where need be: a
# deployment, verification, a second run, a reboot. Minutes, and no part of `test`.
vagrant-test: prepare
	cargo build
	tests/vagrant/run $(PROGRAM)

# Without the lab. TESTS="pki:: plan::" takes those whose names have one of these parts.
unit:
	tests/run --lib $(TESTS)

# Mutated input for every parser, FUZZ_SECONDS each; FUZZ=exec_start is one of
# them. Every test run does the same for a second.
FUZZ_SECONDS ?= 300
fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --workspace --lib --test fast -- --nocapture --test-threads 2 $(or $(FUZZ),fuzz)

# A failure at every step of every node's part in a run; hours. Goes on where it
# was interrupted, unless FAULTS_FRESH=1. FAULTS_ONLY="rotation error power"
# takes scenarios and faults.
faults: prepare
	cargo test --test faults -- --ignored --nocapture hangs the_whole_matrix

# Inventories that mean the same, on the lab, for MINUTES; SEED repeats a run.
MINUTES ?= 15
equivalent: prepare
	MINUTES=$(MINUTES) cargo test --test e2e -- --ignored --nocapture equivalent::soak

fmt:
	cargo fmt --all

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	shellcheck -x tests/lab/lab tests/lab/selftest tests/lab/provision tests/run tests/prepare .ci/run
	shellcheck -x tests/vagrant/run tests/vagrant/*.sh
	shellcheck -x packaging/deb packaging/archive packaging/sbom packaging/release packaging/reproduce
	shellcheck packaging/lint-ansible docs/build src/cli/completions.bash
	cat crates/node/src/prelude/base.sh crates/node/src/prelude/[!b]*.sh | shellcheck -s sh -e SC2154,SC2015,SC2088,SC3013 -
	shellcheck tests/faults/shim.sh tests/e2e/key_types/try.sh
	shellcheck benches/lab benches/compare.d/contenders/bash-steps benches/compare.d/contenders/bash-batched benches/scale.d/systemctl

# Licences, bans and sources of the dependencies; needs cargo-deny.
deny:
	cargo deny check licenses bans sources

# Ratios against what the lab itself costs; needs the lab's packages.
bench: prepare
	benches/lab

# The same work done by the tools that people use, in turn; see docs/benchmarks.md.
# COMPARE="--latency 50" are its options.
compare: prepare
	benches/compare $(COMPARE)

# The same work on 10 to 1000 nodes; see docs/benchmarks.md. SCALE="100 --runs 3" are its options.
scale: prepare
	benches/scale $(SCALE)

release:
	packaging/release

# The packages of a release with their bill of materials and checksums; needs
# cargo-cyclonedx.
package: release
	rm -rf target/package
	packaging/deb $(BUILT)/release/dtls-deploy target/package
	packaging/archive $(BUILT)/release/dtls-deploy target/package
	packaging/sbom $(BUILT)/release/dtls-deploy target/package
	cd target/package && sha256sum -- dtls-deploy* >SHA256SUMS

# Two release builds of the commit, compared.
reproduce:
	packaging/reproduce

# The collection and the jobs for CI; needs ansible-lint and check-jsonschema.
lint-packaging:
	packaging/lint-ansible
	check-jsonschema --builtin-schema vendor.github-actions packaging/github/action.yml
	check-jsonschema --builtin-schema vendor.github-workflows packaging/github/workflow.yml
	check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci packaging/gitlab/dtls-deploy.yml

# The site of docs/, in target/site.
docs: prepare
	docs/build

prepare:
	tests/prepare
