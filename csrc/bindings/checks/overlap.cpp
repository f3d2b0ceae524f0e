// What memory an array to write to may share.
#include <algorithm>
#include <cstdlib>

#include "bindings/arrays/dtypes.h"
#include "bindings/checks/checks.h"

namespace normdrop {
namespace {

struct Extent {
  char* begin;
  char* end;
};

Extent extent_of(const ArrayView& view) {
  Extent extent{view.data, view.data + view.item_bytes};
  for (int d = 0; d < view.rank; ++d) {
    const py::ssize_t reach = (view.shape[d] - 1) * view.strides[d];
    (reach < 0 ? extent.begin : extent.end) += reach;
  }
  return extent;
}

// NumPy's solver looks at addresses only, so an array over the same addresses stands for one in a
// device's memory; nothing reads it.
py::object addresses(const ArrayView& view) {
  if (!view.import) return py::reinterpret_borrow<py::object>(view.object);
  auto& api = py::detail::npy_api::get();
  PyObject* descriptor = api.PyArray_DescrFromType_(type_number(view.dtype));
  PyObject* array = api.PyArray_NewFromDescr_(api.PyArray_Type_, descriptor, view.rank, view.shape,
                                              view.strides, view.data, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}

}  // namespace

// Sorted by stride, each axis must step over everything that the smaller ones reach.
bool holds_no_element_twice(const ArrayView& view) {
  int order[max_rank];
  int count = 0;
  for (int d = 0; d < view.rank; ++d) {
    if (view.shape[d] > 1) order[count++] = d;
  }
  std::sort(order, order + count,
            [&](int a, int b) { return std::abs(view.strides[a]) < std::abs(view.strides[b]); });
  py::ssize_t reach = view.item_bytes;
  for (int i = 0; i < count; ++i) {
    const py::ssize_t stride = std::abs(view.strides[order[i]]);
    if (stride < reach) return false;
    reach += (view.shape[order[i]] - 1) * stride;
  }
  return true;
}

void require_no_overlap(Name out_name, const ArrayView& out, const char* input_name,
                        const ArrayView& input, bool same_allowed) {
  if (!out || !input || out.size() == 0 || input.size() == 0) return;
  if (same_allowed && out.data == input.data && out.rank == input.rank) {
    bool same = true;
    for (int d = 0; d < out.rank; ++d) {
      same = same && (out.shape[d] <= 1 || out.strides[d] == input.strides[d]);
    }
    if (same) return;
  }
  const Extent a = extent_of(out);
  const Extent b = extent_of(input);
  if (a.end <= b.begin || b.end <= a.begin) return;
  // Interleaved arrays share a range but no element; NumPy solves that exactly.
  const py::module_ numpy = py::module_::import("numpy");
  bool shared = true;
  try {
    shared =
        numpy.attr("shares_memory")(addresses(out), addresses(input), py::arg("max_work") = 100000)
            .cast<bool>();
  } catch (py::error_already_set& error) {
    if (!error.matches(numpy.attr("exceptions").attr("TooHardError"))) throw;
  }
  if (!shared) return;
  fail_value(out_name, std::string("must not share memory with ") + input_name +
                           (same_allowed ? ", unless it is the same array; got one that overlaps it"
                                         : "; got one that overlaps it"));
}

}  // namespace normdrop
