"""What count.py makes of figures: `python3 benches/micro/test_count.py`."""

import sys

sys.dont_write_bytecode = True

import unittest

import count

HERE = "rustc 1.95.0, x86_64-unknown-linux-gnu, valgrind-3.19.0, AVX2"


def judged(counted, reference, ground=HERE):
    return count.judge(count.rows(counted, reference), ground, HERE)


class Counts(unittest.TestCase):
    def test_what_is_written_is_read(self):
        counted = {"path": 2133, "frame": 333}
        self.assertEqual(count.read(count.written(HERE, counted)), (HERE, counted))
        self.assertEqual(count.read(""), (None, {}))

    def test_the_reference_can_be_read(self):
        ground, cases = count.read(count.REFERENCE.read_text())
        self.assertRegex(ground, r"^rustc \d\S+ \(.*\), \S+, valgrind-\S+, (no )?AVX2$")
        self.assertTrue(cases and all(instructions > 0 for instructions in cases.values()))

    def test_cachegrinds_words(self):
        self.assertEqual(count.referred("==1== Command: x\n==1== I   refs:      2,762,588\n"), 2762588)
        with self.assertRaises(ValueError):
            count.referred("==1== Command: x\n")

    def test_up_to_a_twentieth_more_is_allowed(self):
        self.assertEqual(judged({"path": 1000}, {"path": 1000}), (0, []))
        self.assertEqual(judged({"path": 1050, "frame": 951}, {"path": 1000, "frame": 1000}), (0, []))
        code, sentences = judged({"path": 1051, "frame": 333}, {"path": 1000, "frame": 333})
        self.assertEqual((code, len(sentences)), (1, 1))
        for words in ["path needs 5.1% more", "callgrind target/release/count path 1000", "--write"]:
            self.assertIn(words, sentences[0])

    def test_a_gain_is_told_and_passes(self):
        code, sentences = judged({"path": 900}, {"path": 1000})
        self.assertEqual((code, len(sentences)), (0, 1))
        self.assertIn("--write", sentences[0])

    def test_a_gain_does_not_hide_a_loss(self):
        code, sentences = judged({"path": 900, "frame": 400}, {"path": 1000, "frame": 333})
        self.assertEqual((code, len(sentences)), (1, 2))

    def test_a_case_without_a_reference_is_not_passed_over(self):
        self.assertEqual(judged({"path": 1, "new": 5}, {"path": 1})[0], 1)
        self.assertEqual(judged({"path": 1}, {"path": 1, "gone": 5})[0], 1)
        self.assertEqual(judged({"path": 1}, {})[0], 1)

    def test_figures_of_another_compiler_are_not_compared(self):
        code, sentences = judged({"path": 5000, "new": 1}, {"path": 1000}, HERE.replace("1.95", "1.96"))
        self.assertEqual((code, len(sentences)), (0, 1))
        self.assertIn("NOT COMPARED", sentences[0])

    def test_the_table_has_a_line_for_each_case(self):
        lines = count.table(count.rows({"path": 1100, "new": 5}, {"path": 1000, "gone": 7})).splitlines()
        self.assertEqual([line.split() for line in lines[1:]],
                         [["path", "1,100", "1,000", "+10.0%"], ["new", "5", "–", "–"], ["gone", "–", "7", "–"]])
        self.assertEqual(len({len(line) for line in lines}), 1)


if __name__ == "__main__":
    unittest.main()
