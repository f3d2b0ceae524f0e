// Why a machine cannot run the CUDA backend, from what the run time says. Nothing here needs CUDA.
#pragma once

#include <string>

namespace normdrop::NORMDROP_DEVICE::runtime {

// As CUDA has them: 13000 is 13.0. A driver of 0 is none.
struct Versions {
  int driver;
  int runtime;
};

// "13.0"; empty for 0.
inline std::string version_text(int version) {
  if (version == 0) return "";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The run time has one error for a driver that is too old and for none at all.
inline std::string why_driver_is_insufficient(Versions versions) {
  if (versions.driver == 0) return "there is no NVIDIA driver";
  return "the NVIDIA driver is too old: it runs CUDA " + version_text(versions.driver) +
         " at most, and this build needs " + version_text(versions.runtime);
}

}  // namespace normdrop::NORMDROP_DEVICE::runtime
