// The calling thread's current device, set for a while and put back, also after an exception.
#pragma once

#include "ops/device.h"

namespace normdrop {

class CurrentDevice {
 public:
  CurrentDevice(const DeviceTable& table, int device)
      : table_(table), previous_(table.current_device()), changed_(previous_ != device) {
    if (changed_) table_.set_device(device);
  }
  ~CurrentDevice() {
    if (!changed_) return;
    try {
      table_.set_device(previous_);
    } catch (const DeviceError&) {  // a destructor has nobody to tell; the next call will say it
    }
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  const DeviceTable& table_;
  int previous_;
  bool changed_;
};

}  // namespace normdrop
