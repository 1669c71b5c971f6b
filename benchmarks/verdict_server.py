"""A server with OpenAI's API whose answers are scripted, for benchmarks of judges.

    python benchmarks/verdict_server.py --latency 0.05 --port 8931

It answers ``/v1/chat/completions`` after a fixed time. Without an oracle, the answer is "True" or
"False" by a hash of the question. With ``--oracle FILE`` (JSON: statement -> true or false), it
finds the statement in the question, whatever the prompt around it, so that clients with different
prompts get the same verdicts. One process, one thread, no framework: at 50 ms it must not be the
bottleneck. ``GET /count`` returns the number of questions so far.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
from pathlib import Path

_CLAIM = re.compile(
    r"(?:Statement|Claim|Input):\s*(.+?)(?:\s*True or False\?|\s*\n|$)", re.IGNORECASE | re.DOTALL
)


class VerdictServer:
    """Answers questions about statements.

    Args:
        latency: seconds before each answer.
        oracle: the verdict of each statement.
        wordy: share of the answers that are sentences with both words.
    """

    def __init__(
        self, latency: float, oracle: dict[str, bool] | None = None, wordy: float = 0.0
    ) -> None:
        self.latency, self.oracle, self.wordy = latency, oracle, wordy
        self.asked = self.unknown = 0

    def answer(self, body: dict) -> str:
        """Return the answer to a request; VeriScore's prompt wants other words than FActScore's."""
        question = body["messages"][-1]["content"]
        claims = _CLAIM.findall(question)
        claim = claims[-1].strip() if claims else question
        if self.oracle is None:
            verdict = hashlib.sha256(claim.encode()).digest()[0] % 3 > 0
        else:
            found = self.oracle.get(claim)
            self.unknown += found is None
            verdict = bool(found)
        wordy = hashlib.sha256(claim.encode()).digest()[1] < 256 * self.wordy
        if "Your decision:" in question:
            mark = "###Supported.###" if verdict else "###Unsupported.###"
            other = "unsupported" if verdict else "supported"
            return f"One could think that it is {other}. My decision: {mark}" if wordy else mark
        word, other = ("True", "false") if verdict else ("False", "true")
        return (
            f"It is {word}, although one could think that it is {other}: {word}" if wordy else word
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"GET"):
                    reply = {"asked": self.asked, "unknown": self.unknown}
                else:
                    self.asked += 1
                    text = self.answer(json.loads(body))
                    await asyncio.sleep(self.latency)
                    message = {"role": "assistant", "content": text}
                    reply = {
                        "id": "x", "object": "chat.completion", "created": 0, "model": "oracle",
                        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                    }  # fmt: skip
                data = json.dumps(reply).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
                    + str(len(data)).encode() + b"\r\n\r\n" + data
                )  # fmt: skip
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def run(args: argparse.Namespace) -> None:
    oracle = json.loads(args.oracle.read_text()) if args.oracle else None
    server = VerdictServer(args.latency, oracle, args.wordy)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", args.port, limit=1 << 24)
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds per answer")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one and prints it")
    parser.add_argument("--wordy", type=float, default=0.0, help="share of answers in sentences")
    parser.add_argument("--oracle", type=Path, help="JSON: statement -> true or false")
    asyncio.run(run(parser.parse_args()))
