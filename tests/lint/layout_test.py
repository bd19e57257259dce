#!/usr/bin/env python3
"""The layout rules find what they are there to find."""
import unittest

from layout import check_include


class CheckInclude(unittest.TestCase):
    def test_allows_the_design_directions(self):
        for name, include in [
            ("aggregator/rounds/round.cc", "secagg/server.h"),
            ("registry/compiler/calibrate.cc", "device_client/runtime/session.h"),
            ("device_client/update/updater.cc", "cdn_origin/delta/decoder.h"),
            ("services/registry/registry_role.cc", "registry/registry.h"),
            ("services/runtime/config.cc", "yaml-cpp/yaml.h"),
            ("aggregator/selection/redis_presence_store.cc", "hiredis/hiredis.h"),
        ]:
            self.assertIsNone(check_include(name, include), (name, include))

    def test_refuses_everything_else(self):
        for name, include in [
            ("base/file.cc", "secagg/server.h"),
            ("registry/registry.cc", "aggregator/rounds/round.h"),
            ("registry/registry.cc", "grpcpp/grpcpp.h"),
            ("registry/registry.cc", "cdn_origin/blobs/blob_store.h"),
            ("device_client/update/updater.cc", "cdn_origin/delta/encoder.h"),
            ("device_client/runtime/session.cc", "registry/registry.h"),
            ("aggregator/rounds/round.cc", "edgefleet/rounds/v1/rounds.pb.h"),
            ("aggregator/selection/selector.cc", "hiredis/hiredis.h"),
            ("device_client/runtime/delegate.h", "dnnl.hpp"),
            ("cdn_origin/blobs/blob_store.cc", "boost/asio.hpp"),
        ]:
            self.assertIsNotNone(check_include(name, include), (name, include))


if __name__ == "__main__":
    unittest.main()
