# What one types most. `just` alone lists it.

default:
    @just --list

# what a change must pass before it is shown
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo clippy --lib --bins -- -D warnings -D clippy::unwrap_used -F unsafe_code
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# what one runs after every change: form, lints of the library, unit tests, dialogs, a small simulation; no root
quick:
    cargo fmt --check
    cargo clippy --locked --lib -- -D warnings -D clippy::unwrap_used -F unsafe_code
    SIM_SESSIONS=5000 cargo test --locked --quiet --lib --test purity --test layers --test dialogs --test session --test simulation

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

# hostile octets for one of answer, command, content, milter, proxy_header, reply, session; led by what they reach
fuzz target time="20m" *options:
    .ci/fuzz {{target}} {{time}} {{options}}

# what no test notices in session and dialog: a file, or options such as --shard 0/40
mutants *args:
    PATH="$(.ci/install-tools cargo-mutants):$PATH" \
    SIM_SESSIONS=3000 CARGO_TARGET_DIR="$PWD/target/mutants" \
    cargo mutants --output target {{ if args =~ '^src/' { "--file " + args } else { args } }}

# licences, bans, sources, advisories; `just deny bans licenses sources` needs no network
deny *what:
    PATH="$(.ci/install-tools cargo-deny):$PATH" cargo deny --locked check {{what}}

# the tools that the recipes above need, at their versions
tools *names:
    .ci/install-tools {{names}}

# all that CI does
ci:
    .ci/run
