// Where one call computes, decided by the array that leads it: in the host's memory; on the device
// where its arrays lie; or, for NumPy arrays under a device's backend, on a device to which they are
// staged. Lives through the call: the current device, and what streams owe each other, are put in
// order at its end.
#pragma once

#include <memory>
#include <vector>

#include "bindings/arrays/array_view.h"
#include "bindings/device/device_array.h"
#include "bindings/device/device_import.h"
#include "bindings/device/staging.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {

class Execution {
 public:
  explicit Execution(const ArrayView& x);
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  const Backend& backend() const { return backend_; }
  const DeviceTable& table() const { return *backend_.device; }
  bool on_host() const { return device_ < 0; }
  int device() const { return device_; }
  void* stream() const { return stream_; }
  const Imported& leader() const { return leader_; }
  PyObject* leader_object() const { return leader_object_; }

  // The ring that carries NumPy arrays to the device and back; null where nothing is staged.
  StagingRing* ring() { return ring_ ? ring_.get() : nullptr; }

  // For operations that go row by row: rows travel in chunks, so that copies and kernels overlap,
  // and `readable`, `writable` and `new_dense` then give memory of the host. False where nothing is
  // staged, or where the rows do not fit.
  bool stage_by_rows(std::int64_t rows, std::int64_t bytes_per_row);
  bool by_rows() const { return by_rows_; }

  // Our stream waits for the work on that array, and its stream for ours when the call is over.
  void join(const ArrayView& view);

  // New memory of the device, in order on our stream.
  std::shared_ptr<DeviceMemory> allocate(std::int64_t bytes) const;

  template <class Arguments>
  void call(void (*OpTable::*operation)(const Arguments&), Arguments& arguments,
            std::int64_t elements) const {
    arguments.stream = stream_;
    const KernelScope scope(on_host() && elements < keep_gil_below);
    (backend_.table->*operation)(arguments);
  }

  // A kernel as part of a longer work, which runs without the GIL.
  template <class Arguments>
  void launch(void (*OpTable::*operation)(const Arguments&), const Arguments& arguments) const {
    const cpu::DefaultFloatEnvironment environment;
    (backend_.table->*operation)(arguments);
  }

 private:
  const Backend& backend_;
  int device_ = -1;
  int previous_device_ = -1;
  void* stream_ = nullptr;
  Imported leader_;
  PyObject* leader_object_ = nullptr;
  StagingLease ring_;
  bool by_rows_ = false;
  std::vector<void*> joined_streams_;
  std::vector<Imported> held_;
};

}  // namespace normdrop
