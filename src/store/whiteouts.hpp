// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <string>

#include <dray/core/fd.hpp>

namespace dray::store {

/// How an unpacked layer says that something of the layers below it is gone. A layer's own entry of the same name
/// stays: what is said concerns only what is below.
class WhiteoutForm {
 public:
  virtual ~WhiteoutForm() = default;
  /// `name` of the layers below is gone.
  virtual Result<void> hide(FdRef directory, const std::string& name) const = 0;
  /// All that the layers below have in the directory `name` is gone.
  virtual Result<void> make_opaque(FdRef directory, const std::string& name) const = 0;
  /// Whether an entry is no file of the layer, but stands for the absence of one.
  virtual bool is_whiteout(const struct stat& status) const = 0;
};

/// What overlayfs takes: character device 0:0; xattr trusted.overlay.opaque.
const WhiteoutForm& overlay_whiteouts();
/// For file systems that have neither: files, named as in a layer's tar (".wh.NAME", ".wh..wh..opq"), or after the
/// hash of a NAME too long for that. No entry of a layer can have such a name, since in a tar it is a whiteout.
const WhiteoutForm& plain_whiteouts();
/// The name that a marker in `directory` is about: one that begins with ".wh.", but not the opaque one.
Result<std::string> plainly_hidden(FdRef directory, const std::string& marker);

}  // namespace dray::store
