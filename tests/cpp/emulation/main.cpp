#include <cstdio>
#include <vector>

#include "contract.h"
#include "cuda/emulation/order.h"
#include "ops/device.h"
namespace normdrop::cuda_emulated {
void strided_copy(const StridedCopy&) {}
}  // namespace normdrop::cuda_emulated
using namespace normdrop::cuda_emulated;
alignas(16) unsigned char bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
int main() {
  for (auto text : {"forward", "reverse", "priority:1", "priority:77"}) {
    emulation::set_order(emulation::parse_order(text));
    std::vector<int> f(20, 1), g(20, 1), h(20, 1);
    run_contract_of_threads(f.data(), bytes, nullptr);
    run_contract_of_numbers(g.data(), nullptr);
    run_contract_of_clusters(h.data(), nullptr);
    for (int i = 0; i < 20; ++i) std::printf("%d%d%d ", f[i], g[i], h[i]);
    std::puts("");
  }
}
