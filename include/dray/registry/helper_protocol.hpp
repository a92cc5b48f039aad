// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>
#include <dray/image/image.hpp>
#include <dray/registry/client.hpp>
#include <dray/registry/login.hpp>
#include <dray/registry/remote.hpp>

// What dray-registry writes to its standard output, one JSON object a line: any number of progress events,
// then exactly one
// {"result": {…}} or {"error": {"code": N, "message": …, "hint": …}}. No line has its newline; N is
// ErrorCode's number.
//
// `dray-registry fetch --output FILE` reads what to fetch from its standard input, since URLs and credentials must not
// be seen on a command line: lines "url …", "authorization …", "etag …", "last-modified …".

namespace dray::registry {

std::string encode_event(const ProgressEvent& event);
std::string encode_result(const Reference& reference, const PullResult& result);
std::string encode_result(const image::Descriptor& pushed);
std::string encode_names(const std::vector<std::string>& names);
std::string encode_found(const std::vector<SearchResult>& found);
/// A document, an image config, what was removed: {"text": …, "media_type": …, "digest": …}.
std::string encode_text(const std::string& text, const std::string& media_type, const std::string& digest);
std::string encode_result(const LoginResult& result);
std::string encode_logout(bool was_logged_in);
std::string encode_result(const Download& download);
std::string encode_error(const Error& error);

}  // namespace dray::registry
