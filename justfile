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

# octets by chance against what reads them: command, reply, content, proxy_header
fuzz target seconds="60":
    BOLERO_RANDOM_TEST_TIME_MS={{seconds}}000 cargo test --test fuzz -- {{target}}

# what one runs while typing, without root: form, lints of the library, unit tests, dialogs, a few sessions by chance
quick:
    cargo fmt --check
    cargo clippy --lib -- -D warnings
    cargo test --lib --test dialogs
    SIM_SESSIONS=2000 cargo test --test simulation

# the comparison with HAProxy and nginx; `just compare --smoke` is short
compare *args:
    cargo bench --bench compare -- {{args}}

# licences, sources, advisories
deny:
    cargo deny check

# all that CI does
ci:
    .ci/run
