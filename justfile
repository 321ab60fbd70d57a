# What one types most. `just` alone lists it.

default:
    @just --list

# what a change must pass before it is shown
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo clippy --lib --bins -- -D warnings -D clippy::unwrap_used -F unsafe_code
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# all tests; real programs come from .ci/install-peers
test *args:
    cargo test {{args}}

# one or several dialog scripts by name
dialog name:
    DIALOG={{name}} cargo test --test dialogs

# one session of the simulation, with its transcript
replay seed:
    SIM_SEED={{seed}} cargo test --test simulation -- --nocapture

# the comparison with HAProxy and nginx; `just compare --smoke` is short
compare *args:
    cargo bench --bench compare -- {{args}}

# licences, sources, advisories
deny:
    cargo deny check

# all that CI does
ci:
    .ci/run
