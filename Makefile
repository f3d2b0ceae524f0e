# Each target is sufficient on a fresh machine: it makes .venv, installs what it needs, and runs.
# CUDA=ON asks for the CUDA backend; the default is a CPU build.
PYTHON ?= python3
VENV ?= .venv
CUDA ?= OFF
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
BUILD_OPTIONS := --config-settings=cmake.define.NORMDROP_CUDA=$(CUDA)
SOURCES := $(shell find csrc cmake python -type f ! -name '*.pyc') CMakeLists.txt pyproject.toml
CXX_SOURCES := $(shell find csrc cmake tests/cpp -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
# Of the build with the emulated GPU; CUDA=ON adds nvcc's, for these architectures.
EMULATED_VENV ?= .venv-cuda-emulated
EMULATED_BIN := $(EMULATED_VENV)/bin
CUDA_ARCHITECTURES ?= 90-real
EMULATED_OPTIONS := $(BUILD_OPTIONS) --config-settings=cmake.define.NORMDROP_CUDA_EMULATION=ON \
	--config-settings=cmake.define.NORMDROP_WARNINGS_AS_ERRORS=ON \
	--config-settings='cmake.define.CMAKE_CUDA_ARCHITECTURES=$(CUDA_ARCHITECTURES)'
comma := ,
# Which part of the check on a GPU: i/n, n at most 7. It uses PYTHON as it is, without a network.
PART ?= 1/1

.PHONY: help demo test lint format test-sanitize test-sanitize-cpu test-sanitize-cuda-emulated \
	test-sanitize-thread test-cuda-emulated test-mutants gpu-check bench \
	time-cuda-build clean

help:
	@echo "make demo           train networks on real digits, write normdrop-demo/index.html"
	@echo "make test           build, install into $(VENV) and run the tests"
	@echo "make lint           formatting, linting and types"
	@echo "make format         format the sources in place"
	@echo "make test-sanitize  the C++ drivers, of the CPU and of the emulated GPU, under sanitizers"
	@echo "make test-cuda-emulated  the CUDA kernels on the CPU; CUDA=ON compiles them by nvcc as well"
	@echo "make test-mutants   whether the tests notice errors put into the sources"
	@echo "make gpu-check      build for this GPU, test, time; PART=1/7 .. 7/7: within 8 minutes each"
	@echo "make time-cuda-build     time and size of builds with CUDA: one architecture, then all"
	@echo "make bench          the whole benchmark against what is installed"
	@echo "make clean          remove $(VENV) and build folders"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip

# One stamp per set of extras; the package itself is rebuilt when a source is newer.
$(VENV)/demo.stamp: $(BIN)/python $(SOURCES)
	$(INSTALL) $(BUILD_OPTIONS) '.[demo]'
	@touch $@

$(VENV)/test.stamp: $(BIN)/python $(SOURCES)
	$(INSTALL) $(BUILD_OPTIONS) '.[test]'
	@touch $@

$(VENV)/lint.stamp: $(BIN)/python $(SOURCES)
	$(INSTALL) $(BUILD_OPTIONS) '.[test,lint]'
	@touch $@

demo: $(VENV)/demo.stamp
	$(BIN)/normdrop demo --out normdrop-demo

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest

lint: $(VENV)/lint.stamp
	$(BIN)/ruff format --check python tests bench examples
	$(BIN)/ruff check python tests bench examples
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)
	$(BIN)/mypy

format: $(VENV)/lint.stamp
	$(BIN)/ruff format python tests bench examples
	$(BIN)/ruff check --fix python tests bench examples
	$(BIN)/clang-format -i $(CXX_SOURCES)

# The orders in which the emulated GPU runs its threads, and what is built for it.
EMULATION_ORDERS := forward reverse priority:1 priority:2 priority:3
EMULATED_TESTS := normdrop_cuda_driver normdrop_emulation_tests
# Of the emulation's own cases, those that do not go astray in memory on purpose.
EMULATION_CASES := right/ large/ wrong/barrier wrong/deadlock wrong/launch wrong/mask wrong/order \
	wrong/read_ wrong/streams wrong/sum_row
configure_driver = $(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	-DNORMDROP_BUILD_DRIVER=ON -DNORMDROP_CUDA=OFF -DNORMDROP_CUDA_EMULATION=ON -DNORMDROP_SANITIZE=$(2)

test-sanitize: test-sanitize-cpu test-sanitize-cuda-emulated test-sanitize-thread

test-sanitize-cpu: $(VENV)/test.stamp
	$(call configure_driver,build/driver-sanitized,address$(comma)undefined)
	$(BIN)/cmake --build build/driver-sanitized --target normdrop_driver
	build/driver-sanitized/normdrop_driver --list | sed 's|.*/|/|' | sort -u | \
		OMP_WAIT_POLICY=passive xargs -P 2 -I BACKEND build/driver-sanitized/normdrop_driver --only BACKEND

test-sanitize-cuda-emulated: $(VENV)/test.stamp
	$(call configure_driver,build/driver-sanitized,address$(comma)undefined)
	$(BIN)/cmake --build build/driver-sanitized --target $(EMULATED_TESTS)
	printf '%s\n' $(EMULATION_ORDERS) | xargs -P 2 -I ORDER env NORMDROP_EMULATION_ORDER=ORDER \
		build/driver-sanitized/tests/cpp/cuda/normdrop_cuda_driver --quick
	printf '%s\n' $(EMULATION_ORDERS) | xargs -P 2 -I ORDER env NORMDROP_EMULATION_ORDER=ORDER \
		build/driver-sanitized/tests/cpp/emulation/normdrop_emulation_tests $(EMULATION_CASES)

# A race shows in every order. Half types take the ways of float32, float64 has more reductions.
test-sanitize-thread: $(VENV)/test.stamp
	$(call configure_driver,build/driver-thread,thread)
	$(BIN)/cmake --build build/driver-thread --target $(EMULATED_TESTS)
	build/driver-thread/tests/cpp/cuda/normdrop_cuda_driver --list | grep -v -e float16 -e /largest- | \
		TSAN_OPTIONS=atexit_sleep_ms=0 xargs -P 2 -I GROUP \
		build/driver-thread/tests/cpp/cuda/normdrop_cuda_driver --quick --only GROUP
	TSAN_OPTIONS=atexit_sleep_ms=0 build/driver-thread/tests/cpp/emulation/normdrop_emulation_tests right/

$(EMULATED_BIN)/python:
	$(PYTHON) -m venv $(EMULATED_VENV)
	$(EMULATED_BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

# One stamp per set of options, so that CUDA=ON after CUDA=OFF builds again.
$(EMULATED_VENV)/test-$(CUDA).stamp: $(EMULATED_BIN)/python $(SOURCES)
	$(EMULATED_BIN)/python -m pip install --quiet --disable-pip-version-check $(EMULATED_OPTIONS) '.[test]'
	@rm -f $(EMULATED_VENV)/test-*.stamp
	@touch $@

test-cuda-emulated: $(EMULATED_VENV)/test-$(CUDA).stamp
	$(EMULATED_BIN)/normdrop info
	NORMDROP_TEST_BACKENDS=cuda-emulated $(EMULATED_BIN)/python -m pytest

test-mutants: $(VENV)/test.stamp
	$(BIN)/python tests/mutants/run.py

gpu-check:
	PYTHONPATH="bench$${PYTHONPATH:+:$$PYTHONPATH}" $(PYTHON) -m gpu_check --part $(PART)

time-cuda-build: $(BIN)/python
	PATH=$(abspath $(BIN)):$$PATH tools/time-cuda-build

bench: $(VENV)/demo.stamp
	$(BIN)/normdrop bench --json bench/results/latest.json --plot bench/results/latest.png

clean:
	rm -rf $(VENV) $(EMULATED_VENV) build dist normdrop-demo
