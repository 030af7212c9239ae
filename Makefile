# The only entry point, for people and for CI. `make help` lists what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# What a fresh Debian 12 lacks: libraries to build with, and the judges that the tests ask.
LIBRARIES := libfuse3-dev libisal-dev libxxhash-dev libsodium-dev zlib1g-dev liblzo2-dev \
  libzstd-dev libdeflate-dev pkg-config
# What `make bench` can use besides; rows whose programs are missing are left out.
BENCH_TOOLS := git make gcc sqlite3 fio postgresql
TOOLS := fuse3 btrfs-progs attr acl libcap2-bin e2fsprogs fuse2fs ntfs-3g util-linux groff-base

SEED ?= 1
OPS ?= 100000
ROUNDS ?= 200
SECONDS_EACH ?= 120
FILES ?= 4000000
CACHE ?= 64
VARIANT ?= all
FORMS ?= all
RESULTS ?= .build/bench
RING_TESTS ?= IntegrationTests
# Elsewhere than the build for debugging, both can run at a time.
RELEASE_SCRATCH ?= .build
RELEASE_BUILD := swift build -c release --scratch-path $(RELEASE_SCRATCH)
RELEASE := $(RELEASE_SCRATCH)/release

.PHONY: help setup build program core-tests mount-tests release lint format check test demo fsx differential stress fill scale \
  bench bench-setup bench-compare install clean

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 16

setup: ## Installs the Debian packages that are missing (as root)
	@missing=; for p in $(LIBRARIES) $(TOOLS) $(MORE_TOOLS); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' \
	    || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing \
	      >/dev/null; \
	  else echo "please install as root:$$missing" >&2; exit 1; fi; fi

bench-setup: ## Installs the programs that rows of `make bench` need besides (as root)
	@$(MAKE) --no-print-directory setup MORE_TOOLS="$(BENCH_TOOLS)"

build: setup ## Builds everything for debugging
	swift build --build-tests

program: setup
	$(RELEASE_BUILD) --product fsmount

release: program ## Builds the program and the exerciser, optimised
	$(RELEASE_BUILD) --product exerciser

.PHONY: benchmarks
benchmarks: release
	$(RELEASE_BUILD) --product benchmarks
	$(RELEASE_BUILD) --product emptyserver

lint: ## Checks style, that no lower layer names a higher one, that no test can wait for ever
	swift format lint --strict --parallel --recursive Package.swift Sources Tests
	Tests/Lint/layers.sh
	Tests/Lint/tests.sh

format: ## Formats the sources in place
	swift format --in-place --parallel --recursive Package.swift Sources Tests

check: build lint ## Builds, lints, and runs the quick tests: before each commit
	Tests/run.sh 'FreeSpaceTests|FSCoreTests|FsmountTests|BenchmarksTests'

test: lint core-tests mount-tests ## All tests, over /dev/fuse and io_uring; as root nothing is skipped

core-tests: build
	Tests/run.sh 'FreeSpaceTests|FSCoreTests|FsmountTests|BenchmarksTests'

mount-tests: program core-tests
	FSMOUNT_IO_URING=off FSMOUNT=$(CURDIR)/$(RELEASE)/fsmount Tests/run.sh IntegrationTests
	FSMOUNT_IO_URING=on FSMOUNT=$(CURDIR)/$(RELEASE)/fsmount Tests/run.sh '$(RING_TESTS)'

demo: release ## Makes an image, works on it through a mount, and inspects its caches
	Tests/Demo/demo.sh $(RELEASE)

fsx: release ## Exercises one file: make fsx OPS=1000000 SEED=7
	Tests/Demo/on-mount.sh $(RELEASE) fsx --ops $(OPS) --seed $(SEED)

differential: release ## Compares with the kernel, taking turns: make differential ROUNDS=500
	$(RELEASE)/exerciser differential --rounds $(ROUNDS) --seed $(SEED) --variant $(VARIANT)

stress: release ## Many threads on one mount: make stress SECONDS_EACH=300
	Tests/Demo/on-mount.sh $(RELEASE) stress --seconds $(SECONDS_EACH) --seed $(SEED)

fill: release ## Fills images to the last byte, over and over: make fill ROUNDS=50 FORMS=4G,4G-dup
	$(RELEASE)/exerciser fill --rounds $(ROUNDS) --seed $(SEED) --form $(FORMS)

scale: release ## Many files and a huge one in little memory: make scale FILES=4000000 CACHE=64
	$(RELEASE)/exerciser scale --files $(FILES) --cache $(CACHE) --directory $${TMPDIR:-/tmp}

bench: benchmarks ## Measures against fuse2fs, ntfs-3g and the kernel, in one run; then the core alone
	mkdir -p $(RESULTS)
	$(RELEASE)/benchmarks mounts --json $(RESULTS)/mounts.json
	$(RELEASE)/benchmarks applications --json $(RESULTS)/applications.json
	$(RELEASE)/benchmarks show $(RESULTS)/applications.json $(RESULTS)/mounts.json \
	  --svg $(RESULTS)/benchmarks.svg --markdown $(RESULTS)/benchmarks.md >/dev/null
	$(RELEASE)/benchmarks mounts --sync-only --directory /var/tmp
	$(RELEASE)/benchmarks core --groups 1000
	$(RELEASE)/benchmarks groups
	$(RELEASE)/benchmarks compression

bench-compare: benchmarks ## Measures two builds in turns: make bench-compare OLD=path/to/fsmount
	@[ -x "$(OLD)" ] || { echo "OLD names the fsmount to compare with" >&2; exit 1; }
	$(RELEASE)/benchmarks compare --old $(OLD)
	@core=$$(ls $$(dirname $(OLD))/benchmarks $$(dirname $(OLD))/exerciser 2>/dev/null | head -n 1); \
	if [ -n "$$core" ]; then $(RELEASE)/benchmarks compare-core --old $$core; fi

install: program ## Installs the program, its manual page, and a helper for mount(8): mount -t fsmount
	install -D -m 755 $(RELEASE)/fsmount $(DESTDIR)/usr/local/bin/fsmount
	install -D -m 644 Documentation/fsmount.8 $(DESTDIR)/usr/local/share/man/man8/fsmount.8
	install -d $(DESTDIR)/sbin
	ln -sf /usr/local/bin/fsmount $(DESTDIR)/sbin/mount.fsmount

clean: ## Removes what was built
	rm -rf .build
