"""The pure parts: `python3 benches/compare/test_run.py`."""

import sys

sys.dont_write_bytecode = True

import unittest

import drive
import peers
import proc
import processes
import run
import sockets
import table
import tokens


def sample(number, peer, cpu, load="1k-h1"):
    return {"round": number, "peer": peer, "load": load, "cpu_us": cpu, "rps": 1000.0, "p50_us": 500, "p99_us": 900, "pss_kib": 2048}


class Tables(unittest.TestCase):
    def test_percentile_is_a_measured_value(self):
        self.assertEqual(table.percentile(range(1, 101), 99), 99)
        self.assertEqual(table.percentile([5], 50), 5)
        self.assertEqual(table.percentile([4, 1, 3, 2], 50), 2)
        with self.assertRaises(ValueError):
            table.percentile([], 50)

    def test_ratios_are_paired_by_round(self):
        samples = [sample(1, "gateway", 40), sample(1, "nginx", 80), sample(2, "gateway", 90), sample(2, "nginx", 100),
                   sample(3, "nginx", 100)]
        self.assertEqual(table.ratios(samples, "1k-h1", "cpu_us", "gateway", "nginx"), [0.5, 0.9])

    def test_summary_holds_medians_and_ratios(self):
        samples = [sample(r, peer, cpu) for r in range(1, 8) for peer, cpu in (("gateway", 40 + r), ("nginx", 80 + 2 * r))]
        first = table.summarise(samples, ["1k-h1"], ["nginx", "gateway"], "gateway")[0]
        self.assertEqual(first["medians"], {"nginx": 88, "gateway": 44})
        self.assertEqual(first["ratios"]["nginx"]["median"], 0.5)
        self.assertEqual(table.verdict(first["ratios"]["nginx"], "lower"), "ahead")
        self.assertEqual(table.verdict(first["ratios"]["nginx"], "higher"), "behind")

    def test_rounds_that_disagree_are_even(self):
        self.assertEqual(table.verdict({"below": 6, "above": 1}, "lower"), "even")
        self.assertEqual(table.verdict({"below": 7, "above": 0}, "lower"), "ahead")
        self.assertEqual(table.verdict({"below": 5, "above": 0}, "lower"), "even")
        self.assertEqual(table.verdict({"below": 0, "above": 0}, "lower"), "even")

    def test_a_peer_without_samples_is_a_dash(self):
        summary = table.summarise([sample(1, "gateway", 40)], ["1k-h1"], ["nginx", "gateway"], "gateway")
        lines = table.rows(summary, {"1k-h1": "1 KB"}, ["nginx", "gateway"], "gateway")
        self.assertEqual(lines[1], ["1 KB", "CPU/request, µs", "lower", "–", "40.0", "–"])
        self.assertEqual(len({line.count("|") for line in table.markdown(lines).splitlines()}), 1)


class Driver(unittest.TestCase):
    def test_log(self):
        span, latencies = drive.parse_log("1000\t200\t30\n1010\t200\t10\n1015\t502\t5\n1016\t-1\t9\n")
        self.assertEqual((span, latencies), (30, [10, 30]))
        self.assertEqual(drive.parse_log(""), (0, []))

    def test_output(self):
        said = drive.parse_output(
            "TLS Protocol: TLSv1.3\nCipher: TLS_AES_128_GCM_SHA256\nServer Temp Key: X25519 253 bits\n"
            "Application protocol: h2\n\nfinished in 97.71ms, 30703.10 req/s, 33.68MB/s\n"
            "requests: 3000 total, 3000 started, 3000 done, 2999 succeeded, 1 failed, 0 errored, 0 timeout\n"
            "traffic: 3.29MB (3450980) total, 316.41KB (324000) headers (space savings 39.66%), 2.93MB (3072000) data\n")
        self.assertEqual(said, {"protocol": "h2", "tls": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "group": "X25519",
                                "data": 3072000})
        self.assertEqual(drive.parse_output("")["data"], 0)

    def test_every_load_can_fill_its_connections(self):
        for load in drive.LOADS.values():
            self.assertLessEqual(load.in_flight, load.requests)
            self.assertLessEqual(load.requests, load.most)


class Sockets(unittest.TestCase):
    def test_frames_come_back_whole(self):
        for text in ("", "2", "x" * 125, "é" * 200, "y" * 70_000):
            for mask in (None, b"\x01\x80\xff\x00"):
                buffer = bytearray(sockets.frame(text, mask) + sockets.frame("3") + b"\x81")
                self.assertEqual(sockets.take_frames(buffer), [(1, text), (1, "3")])
                self.assertEqual(buffer, b"\x81")

    def test_a_frame_in_pieces_waits(self):
        whole, buffer = sockets.frame("z" * 300, b"abcd"), bytearray()
        for byte in whole[:-1]:
            buffer.append(byte)
            self.assertEqual(sockets.take_frames(buffer), [])
        buffer += whole[-1:]
        self.assertEqual(sockets.take_frames(buffer), [(1, "z" * 300)])

    def test_frame_is_that_of_rfc_6455(self):
        self.assertEqual(sockets.frame("Hello"), bytes.fromhex("810548656c6c6f"))
        self.assertEqual(sockets.frame("Hello", bytes.fromhex("37fa213d")), bytes.fromhex("818537fa213d7f9f4d5158"))
        self.assertEqual(sockets.accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_what_the_client_said(self):
        self.assertEqual(sockets.parse_said(""), ("", None))
        self.assertEqual(sockets.parse_said("before\nopen"), ("before", None))
        self.assertEqual(sockets.parse_said("before\nholding\n"), ("holding", None))
        self.assertEqual(sockets.parse_said('echoing\n{"drops": 0}\n'), ("done", {"drops": 0}))

    def test_result_is_growth_by_socket(self):
        said = {"times": [100.0, 300.0, 200.0], "drops": 1, "why": ["ended: closed"], "pings": 9, "open_s": 1.0, "cipher": "a"}
        found = sockets.result(5, said, 1000, 1080)
        self.assertEqual((found["socket_kib"], found["drops"], found["echo_p50_us"], found["echo_p99_us"]), (20, 1, 200, 300))
        lines = table.rows(table.summarise([found | {"round": 1, "load": "s", "peer": "nginx"}], ["s"], ["nginx"], "nginx"),
                           {"s": "idle"}, ["nginx"], "nginx")
        self.assertEqual([line[1:] for line in lines[1:]], [
            ["memory/socket, KiB", "lower", "20.0"], ["drops", "lower", "1"],
            ["echo p50, ms", "lower", "0.20"], ["echo p99, ms", "lower", "0.30"]])

    def test_descriptors_bound_the_sockets(self):
        self.assertEqual(sockets.most(20_512), 10_000)

    def test_a_dropped_socket_is_a_doubt(self):
        good = {"round": 1, "load": "sockets-idle", "peer": "nginx", "sockets": 100, "drops": 0, "failed": 0, "why": [],
                "log_lines": 140, "log_expected": 100, "stopped_by_itself": True, "cipher": "a"}
        self.assertEqual(run.doubts([good]), [])
        bad = good | {"drops": 2, "failed": 2, "why": ["no ping came"], "log_lines": 0, "stopped_by_itself": False, "cipher": "b"}
        self.assertEqual(len(run.doubts([good, bad])), 4)

    def test_only_who_asks_gets_sockets(self):
        self.assertNotIn("sockets-idle", run.parse_arguments([]).only)
        options = run.parse_arguments(["--only", "sockets-idle", "--sockets", "500", "--hold", "60"])
        self.assertEqual(run.load_of("sockets-idle", options).sockets, 500)
        self.assertEqual(run.load_of("1k-h1", options), drive.LOADS["1k-h1"])


class Kernel(unittest.TestCase):
    def test_stat_with_an_odd_name(self):
        line = "42 (a) b (c) S 7 42 41 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7"
        self.assertEqual(proc.parse_stat(line), (42, 7, 41, 127))

    def test_pss(self):
        self.assertEqual(proc.parse_pss("0-1 ---p [rollup]\nRss: 99 kB\nPss:      1632 kB\nPss_Dirty: 5 kB\n"), 1632)
        with self.assertRaises(ValueError):
            proc.parse_pss("Rss: 1 kB\n")

    def test_tree_holds_descendants_and_orphans_of_the_session(self):
        processes_by_pid = {1: (0, 1, 0), 10: (1, 10, 0), 11: (10, 10, 0), 12: (11, 12, 0), 13: (1, 10, 0), 20: (1, 20, 0)}
        self.assertEqual(proc.below(10, processes_by_pid), {10, 11, 12, 13})

    def test_this_process_is_seen(self):
        self.assertGreater(proc.pss_kib(proc.os.getpid()), 0)


class Tokens(unittest.TestCase):
    def test_signature_is_that_of_rfc_7515(self):
        token = tokens.sign({"c": "version"}, "rig-secret-0123456789abcdef0123456789")  # as a Document Server accepted it
        self.assertEqual(token, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjIjoidmVyc2lvbiJ9.UQnS2wSSJnT4tWQ3ZiciG05VU6MrVUZDgdr5Bmk2QBk")

    def test_bad_tokens_differ_from_the_good_one(self):
        bad = tokens.bad("k1", "s" * 16 + "t" * 16, 1000)
        self.assertEqual(len({tokens.good("k1", "s" * 16 + "t" * 16, 1000), *bad.values()}), len(bad) + 1)

    def test_a_peer_that_accepts_a_bad_token_is_an_error(self):
        bad = {"no token": None, "alg none": "x"}
        peers.check_refusals(lambda token: (401 if token else 403, b""), bad)
        for status in (200, 204, 302, 400, 500):
            with self.assertRaisesRegex(peers.CheckError, f"alg none with {status}"):
                peers.check_refusals(lambda token: (status if token else 403, b""), bad)

    def test_only_loads_that_need_a_token_send_one(self):
        for load in drive.LOADS.values():
            self.assertEqual("authorization: Bearer t" in drive.command(load, 1, 100, "log", "t"), load.token)

    def test_nginx_without_its_service_is_left_out_where_it_is_needed(self):
        lacking = [name for name, load in drive.LOADS.items() if peers.Nginx("nginx").lacks(load)]
        self.assertEqual(lacking, ["1k-h1-token", "1k-h2-token"])


class Rest(unittest.TestCase):
    def test_cpus(self):
        self.assertEqual(processes.split_cpus({1, 0}), ([0, 1], [0, 1]))
        self.assertEqual(processes.split_cpus({3, 1, 0, 2}), ([0, 1], [2, 3]))

    def test_ports_differ(self):
        self.assertEqual(len(set(processes.free_ports(5))), 5)

    def test_stub_status(self):
        text = "Active connections: 2 \nserver accepts handled requests\n 17 17 4711 \nReading: 0 Writing: 1 Waiting: 1 \n"
        self.assertEqual(peers.parse_counters(text), (17, 4711))

    def test_arguments(self):
        options = run.parse_arguments(["--peers", "haproxy,nginx", "--only", "4m-h1", "--seconds", "2"])
        self.assertEqual((options.peers, options.only, options.rounds), (["nginx", "haproxy"], ["4m-h1"], 7))
        self.assertEqual(run.how_many(drive.LOADS["4m-h1"], options, 150.0), 300)

    def test_a_missing_gateway_is_none(self):
        self.assertIsNone(peers.find_gateway("/nowhere/rapidpm-gateway", run.ROOT))

    def test_doubts(self):
        good = {"round": 1, "load": "1k-h1", "peer": "nginx", "failed": 0, "requests": 1000, "upstream_requests": 1000,
                "upstream_connections": 3, "log_lines": 1100, "log_expected": 1100, "stopped_by_itself": True,
                "cipher": "a", "group": "b"}
        self.assertEqual(run.doubts([good]), [])
        bad = good | {"failed": 1, "upstream_requests": 10, "upstream_connections": 900, "log_lines": 0,
                      "stopped_by_itself": False, "cipher": "c"}
        self.assertEqual(len(run.doubts([good, bad])), 6)


if __name__ == "__main__":
    unittest.main()
