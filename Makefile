# Each target is sufficient on a fresh machine: it makes .venv, installs what it needs, and runs.
# CUDA=ON asks for the CUDA backend; the default is a CPU build.
PYTHON ?= python3
VENV ?= .venv
CUDA ?= OFF
BIN := $(VENV)/bin
# Several makes at once take turns where they compile and install.
LOCKED := $(PYTHON) tools/with_lock.py build/lock
INSTALL := $(LOCKED) $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES := $(shell find csrc cmake python -type f ! -name '*.pyc' ! -name '*.so') \
	CMakeLists.txt pyproject.toml README.md LICENSE tools/build_wheel.py tools/readme_links.py
# One wheel for all targets, compiled in a folder that stays: what has not changed is not compiled
# again. The tools are in $(VENV), since CMake begins anew where their places change.
WHEELS := build/wheel/$(CUDA)
PACKAGE := $(VENV)/package-$(CUDA).stamp
BUILD_TOOLS := scikit-build-core pybind11 cmake ninja
# The CPU build of PyTorch: on Linux, plain torch brings several GB of CUDA.
TORCH ?= $(if $(filter Darwin,$(shell uname)),torch,torch==2.13.0+cpu)
PYTHON_SOURCES := python tests bench examples tools
CXX_SOURCES := $(shell find csrc cmake tests/cpp -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
# Of the build with the emulated GPU; CUDA=ON adds nvcc's, for these architectures.
EMULATED_VENV ?= .venv-cuda-emulated
EMULATED_BIN := $(EMULATED_VENV)/bin
CUDA_ARCHITECTURES ?= 90-real
EMULATED_WHEELS := build/wheel/emulated-$(CUDA)
EMULATED_INSTALL := $(LOCKED) $(EMULATED_BIN)/python -m pip install --quiet --disable-pip-version-check
EMULATED_OPTIONS := NORMDROP_CUDA=$(CUDA) NORMDROP_CUDA_EMULATION=ON NORMDROP_WARNINGS_AS_ERRORS=ON \
	'CMAKE_CUDA_ARCHITECTURES=$(CUDA_ARCHITECTURES)'
comma := ,
# The tests in as many processes as there are processors; plain pytest runs them in one.
IN_PROCESSES := -n auto --maxprocesses 4 --dist worksteal
# Which part of the check on a GPU: i/n, n at most 8. It uses PYTHON as it is, without a network.
PART ?= 1/1

.PHONY: help demo test test-new-operation has-torch test-frameworks lint format test-sanitize test-sanitize-cpu test-sanitize-cuda-emulated \
	test-sanitize-thread test-cuda-emulated test-mutants gpu-check bench \
	time-cuda-build clean

help:
	@echo "make demo           train networks on real digits, write normdrop-demo/index.html"
	@echo "make test           build, install into $(VENV) and run the tests"
	@echo "make test-frameworks  install PyTorch, JAX and ONNX Runtime, run the tests that need them"
	@echo "make lint           formatting, linting and types"
	@echo "make format         format the sources in place"
	@echo "make test-sanitize  the C++ drivers, of the CPU and of the emulated GPU, under sanitizers"
	@echo "make test-cuda-emulated  the CUDA kernels on the CPU; CUDA=ON compiles them by nvcc as well"
	@echo "make test-mutants   whether the tests notice errors put into the sources"
	@echo "make test-new-operation  follow the steps for a new operation in a copy of the tree"
	@echo "make gpu-check      build for this GPU, test, time; PART=1/8 .. 8/8: within 8 minutes each"
	@echo "make time-cuda-build     time and size of builds with CUDA: one architecture, then all"
	@echo "make bench          the whole benchmark against what is installed"
	@echo "make clean          remove $(VENV) and build folders"

$(BIN)/python:
	@echo "Making the environment $(VENV)."
	@$(LOCKED) $(PYTHON) -m venv $(VENV)
	@$(INSTALL) --upgrade pip

$(VENV)/tools.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing the build's tools into $(VENV): $(BUILD_TOOLS)."
	@$(INSTALL) --upgrade $(BUILD_TOOLS)
	@touch $@

# One stamp per choice of CUDA, so that CUDA=ON after CUDA=OFF installs the other wheel.
$(PACKAGE): $(VENV)/tools.stamp $(SOURCES)
	@echo "Compiling normdrop: about 50 files, 1 to 4 minutes on two processors; later what has changed."
	@$(if $(filter OFF,$(CUDA)),,echo "With CUDA and no GPU here to choose by, up to 24 minutes: \
	export CUDAARCHS=90 compiles for one architecture.")
	@$(LOCKED) $(BIN)/python tools/build_wheel.py $(WHEELS) NORMDROP_CUDA=$(CUDA)
	@$(INSTALL) --force-reinstall --no-deps $(WHEELS)/*.whl
	@rm -f $(VENV)/package-*.stamp
	@touch $@

extras_of_demo := demo
extras_of_test := test
extras_of_lint := test,lint
extras_of_frameworks := bench
what_is_installed_for = "$$(echo $(WHEELS)/*.whl)[$(extras_of_$(1))]"

$(VENV)/demo.stamp $(VENV)/test.stamp $(VENV)/lint.stamp: $(VENV)/%.stamp: pyproject.toml | $(PACKAGE)
	@echo "Installing what make $* needs into $(VENV), up to a minute."
	@$(INSTALL) $(call what_is_installed_for,$*)
	@touch $@

$(VENV)/frameworks.stamp: pyproject.toml | $(PACKAGE)
	@echo "Installing PyTorch, JAX and ONNX Runtime into $(VENV): 500 MB to fetch, some minutes."
	@$(INSTALL) '$(TORCH)' || { echo "$(TORCH) is not to be had. Name an index that has the CPU build \
	by PIP_EXTRA_INDEX_URL (PyTorch's page on installing it says which), or take the build that \
	pip finds, on Linux with several GB of CUDA: make test-frameworks TORCH=torch"; exit 1; }
	@$(INSTALL) $(call what_is_installed_for,frameworks)
	@touch $@

demo: $(PACKAGE) $(VENV)/demo.stamp
	$(BIN)/normdrop demo --out normdrop-demo

test: $(PACKAGE) $(VENV)/test.stamp
	$(BIN)/python -m pytest $(IN_PROCESSES)

# Whether the index has that build of PyTorch for this machine.
has-torch: | $(BIN)/python
	@$(INSTALL) --dry-run --no-deps '$(TORCH)' 2> /dev/null

# None of these may be skipped for want of a framework.
test-frameworks: $(PACKAGE) $(VENV)/test.stamp $(VENV)/frameworks.stamp
	NORMDROP_TEST_FRAMEWORKS=torch,jax,onnxruntime,onnx $(BIN)/python -m pytest $(IN_PROCESSES)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)
	$(BIN)/mypy

format: $(VENV)/lint.stamp
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(BIN)/ruff check --fix $(PYTHON_SOURCES)
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
	@echo "Compiling with sanitizers, some minutes; later what has changed."
	$(call configure_driver,build/driver-sanitized,address$(comma)undefined)
	$(BIN)/cmake --build build/driver-sanitized --target normdrop_driver
	build/driver-sanitized/normdrop_driver --list | sed 's|.*/|/|' | sort -u | \
		OMP_WAIT_POLICY=passive xargs -P 2 -I BACKEND build/driver-sanitized/normdrop_driver --only BACKEND

test-sanitize-cuda-emulated: $(VENV)/test.stamp
	@echo "Compiling with sanitizers, some minutes; later what has changed."
	$(call configure_driver,build/driver-sanitized,address$(comma)undefined)
	$(BIN)/cmake --build build/driver-sanitized --target $(EMULATED_TESTS)
	printf '%s\n' $(EMULATION_ORDERS) | xargs -P 2 -I ORDER env NORMDROP_EMULATION_ORDER=ORDER \
		build/driver-sanitized/tests/cpp/cuda/normdrop_cuda_driver --quick
	printf '%s\n' $(EMULATION_ORDERS) | xargs -P 2 -I ORDER env NORMDROP_EMULATION_ORDER=ORDER \
		build/driver-sanitized/tests/cpp/emulation/normdrop_emulation_tests $(EMULATION_CASES)

# A race shows in every order. Half types take the ways of float32, float64 has more reductions.
test-sanitize-thread: $(VENV)/test.stamp
	@echo "Compiling with ThreadSanitizer, some minutes; later what has changed."
	$(call configure_driver,build/driver-thread,thread)
	$(BIN)/cmake --build build/driver-thread --target $(EMULATED_TESTS)
	build/driver-thread/tests/cpp/cuda/normdrop_cuda_driver --list | grep -v -e float16 -e /largest- | \
		TSAN_OPTIONS=atexit_sleep_ms=0 xargs -P 2 -I GROUP \
		build/driver-thread/tests/cpp/cuda/normdrop_cuda_driver --quick --only GROUP
	TSAN_OPTIONS=atexit_sleep_ms=0 build/driver-thread/tests/cpp/emulation/normdrop_emulation_tests right/

$(EMULATED_BIN)/python:
	@echo "Making the environment $(EMULATED_VENV)."
	@$(LOCKED) $(PYTHON) -m venv $(EMULATED_VENV)
	@$(EMULATED_INSTALL) --upgrade pip

# One stamp per set of options, so that CUDA=ON after CUDA=OFF builds again.
$(EMULATED_VENV)/test-$(CUDA).stamp: $(VENV)/tools.stamp $(SOURCES) | $(EMULATED_BIN)/python
	@echo "Compiling normdrop with the emulated GPU, 3 to 8 minutes on two processors; later what \
	has changed."
	@$(LOCKED) $(BIN)/python tools/build_wheel.py $(EMULATED_WHEELS) $(EMULATED_OPTIONS)
	@$(EMULATED_INSTALL) --force-reinstall --no-deps $(EMULATED_WHEELS)/*.whl
	@$(EMULATED_INSTALL) "$$(echo $(EMULATED_WHEELS)/*.whl)[test]"
	@rm -f $(EMULATED_VENV)/test-*.stamp
	@touch $@

test-cuda-emulated: $(EMULATED_VENV)/test-$(CUDA).stamp
	$(EMULATED_BIN)/normdrop info
	NORMDROP_TEST_BACKENDS=cuda-emulated $(EMULATED_BIN)/python -m pytest $(IN_PROCESSES)

test-mutants: $(VENV)/test.stamp
	@echo "Compiling a driver for each mutant, about an hour for all of them."
	$(BIN)/python tests/mutants/run.py

test-new-operation: $(VENV)/test.stamp
	@echo "Compiling a copy of the tree with one operation more, 5 to 15 minutes on two processors."
	OMP_NUM_THREADS=1 $(BIN)/python tests/new_operation/run.py

gpu-check:
	PYTHONPATH="bench$${PYTHONPATH:+:$$PYTHONPATH}" $(PYTHON) -m gpu_check --part $(PART)

time-cuda-build: $(BIN)/python
	@echo "Two builds with CUDA, for one architecture and for the default list: up to 20 minutes."
	PATH=$(abspath $(BIN)):$$PATH tools/time-cuda-build

bench: $(PACKAGE) $(VENV)/demo.stamp
	$(BIN)/normdrop bench --json bench/results/latest.json --plot bench/results/latest.png

clean:
	rm -rf $(VENV) $(EMULATED_VENV) build dist normdrop-demo
