set quiet := true

# list the verbs
default:
    just --list --unsorted

# start the product on the embedded PostgreSQL, with its data in .data
up *args:
    mkdir -p .data
    agent-factory up {{ args }}

# run all tests
test *args:
    python -m pytest -n 2 --dist loadgroup {{ args }}

# everything that CI checks, but the tests
check: lint types house

# format the code
fmt:
    ruff format .
    ruff check --fix .

# style
lint:
    ruff format --check .
    ruff check .

# types
types:
    pyright

# who may import whom
house:
    lint-imports --no-cache

# the schema up, down and up again, and nothing left to migrate
migrations:
    python -m pytest tests/database/test_migrations.py

# what things cost: turns, engine, waiting, map, logins or protected
bench what="turns" *args:
    python -m bench.{{ what }} {{ args }}

# load in its long form: what stands in the tests in short
load:
    AF_SLOW_PROOFS=1 python -m pytest tests/database/test_tenancy.py tests/enterprise/test_budgets_stateful.py -s --timeout 3600

# fuzzers in their long form: expressions, definitions and the API, `seconds` for each of the first two
fuzz seconds="300" examples="300":
    python -m fuzz.expressions -max_total_time={{ seconds }}
    python -m fuzz.definitions -max_total_time={{ seconds }}
    AF_FUZZ_EXAMPLES={{ examples }} python -m pytest tests/test_openapi.py tests/runtime/flow/test_properties.py --timeout 3600

# workers and PostgreSQL killed under random workflows, the long form
chaos kills="200":
    AF_CHAOS_KILLS={{ kills }} python -m pytest tests/chaos -s --timeout 7200

# write the locks anew, within the ranges of pyproject.toml
lock:
    uv pip compile pyproject.toml --group dev --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 --custom-compile-command "just lock" --quiet -o requirements/dev.txt
    printf 'uv==0.13.8\nrust-just==1.59.0\n' | uv pip compile - --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 --custom-compile-command "just lock" --quiet -o requirements/bootstrap.txt
    printf 'hatchling==1.27.0\neditables\n' | uv pip compile - --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 --custom-compile-command "just lock" --quiet -o requirements/build.txt
