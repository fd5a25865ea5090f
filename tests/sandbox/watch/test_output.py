"""What a handler has printed, logged and raised, from the log of an invocation."""

import json

from sandbox.report import HELD
from sandbox.watch.output import MOST_CHARACTERS, MOST_LINES, output_of

TRACEBACK = """Traceback (most recent call last):
  File "/tmp/x/code/handler/stream/engine/attempt.py", line 33, in attempt
    run(function, change)
  File "/tmp/x/code/handler/mail.py", line 12, in handler
    send(change)
  File "/tmp/x/code/handler/lib/smtp.py", line 5, in send
    raise OSError("no server")
OSError: no server"""


def test_printed_lines_and_logged_lines_are_shown_with_their_item_and_their_fields():
    log = "\n".join(
        [
            "START RequestId: 1 Version: $LATEST",
            "hello",
            json.dumps({"level": "WARNING", "message": "odd", "event_id": "e1", "service": "mail", "total": 7}),
            json.dumps({"_aws": {}, "HeldItems": [0.0]}),
            '{"no": "log line"}',
            "{broken",
            "END RequestId: 1",
        ]
    )
    assert list(output_of(log, {"e1": "id=1"})) == [
        {"text": "hello", "level": "print"},
        {"text": "odd total=7", "level": "WARNING", "item": "id=1"},
        {"text": '{"no": "log line"}', "level": "print"},
        {"text": "{broken", "level": "print"},
    ]


def test_of_the_engines_lines_only_the_users_frames_are_shown():
    line = {"level": "ERROR", "message": HELD, "event_id": "e1", "exception": TRACEBACK}
    assert list(output_of(json.dumps(line), {"e1": "id=1"})) == [
        {"text": "handler/mail.py:12 in handler: send(change)", "level": "traceback", "item": "id=1"},
        {"text": 'handler/lib/smtp.py:5 in send: raise OSError("no server")', "level": "traceback", "item": "id=1"},
    ]


def test_long_lines_and_long_logs_are_cut():
    [long] = output_of("x" * 10 * MOST_CHARACTERS, {})
    assert len(long["text"]) == MOST_CHARACTERS
    *lines, last = output_of("line\n" * 2 * MOST_LINES, {})
    assert (len(lines), last["text"]) == (MOST_LINES, "… and more: python -m ops tail")
