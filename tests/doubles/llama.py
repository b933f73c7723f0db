"""The real llama.cpp server over a tiny model that this file writes: its words are noise, its protocol is real.

Run `python -m tests.doubles.llama --folder DIR`; the first line on stdout is
`{"url": "http://127.0.0.1:N"}`. The model has one token a byte, attention that
adds nothing, and as output weights a table of which byte follows which in this
project's own texts. Grammars do the rest: tool calls and JSON come out well-formed.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 320
"""One dimension a token, rounded up to what the engine's kernels like."""
HEADS = 4
CONTEXT = 8192
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
END, CALL, CALL_ENDS = (256 + SPECIALS.index(name) for name in ("<|im_end|>", "<tool_call>", "</tool_call>"))
TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n\
</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' + (message.content or '') }}
{%- for tool_call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n{"name": "' + tool_call.function.name + '", "arguments": ' }}
{{- tool_call.function.arguments if tool_call.function.arguments is string else tool_call.function.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def byte_tokens() -> list[str]:
    """Give the 256 tokens that stand for bytes, as byte-level vocabularies spell them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def follows() -> np.ndarray:
    """Count which byte follows which in the project's texts; give logarithms of the likelihoods."""
    texts = sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("agent_factory/c*/*.py"))
    data = np.frombuffer(b"\n".join(p.read_bytes() for p in texts) or b"no text", dtype=np.uint8)
    counts = np.full((WIDTH, WIDTH), 0.01)
    np.add.at(counts, (data[:-1], data[1:]), 1.0)
    counts[:, 256 + len(SPECIALS) :] = 1e-9
    counts[:, 256 : 256 + len(SPECIALS)] = 1e-9
    totals = counts.sum(axis=1)
    counts[[*b".}"], END] = totals[[*b".}"]] * 0.3  # an answer ends after a sentence or an object,
    counts[b">"[0], END] = totals[b">"[0]] * 20  # and nearly always after a tag
    counts[b"\n"[0], CALL] = totals[b"\n"[0]]  # where a line begins, a tool call may
    counts[CALL, b"\n"[0]] = counts[CALL_ENDS, END] = 1e6
    return np.log(counts / counts.sum(axis=1, keepdims=True))


def write_model(path: Path) -> None:
    """Write the model as GGUF, about 1 MB."""
    tokens = byte_tokens() + list(SPECIALS)
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [normal] * 256 + [
        control,
        control,
        control,
        int(gguf.TokenType.USER_DEFINED),
        int(gguf.TokenType.USER_DEFINED),
    ]
    writer.add_token_types(kinds)
    writer.add_token_merges(["\u0100 \u0100"])  # the format wants one; these bytes never meet
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)  # noqa: FBT003 - the writer's own signature
    writer.add_chat_template(TEMPLATE)
    size = len(tokens)
    embedding = np.zeros((size, WIDTH), dtype=np.float32)
    embedding[np.arange(size), np.arange(size)] = 1.0
    writer.add_tensor("token_embd.weight", embedding)
    # The norm multiplies a one-hot vector by the root of its width; the table takes that back.
    writer.add_tensor("output.weight", (follows().T[:size] / np.sqrt(WIDTH)).astype(np.float32))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for name, shape in (
        ("attn_q", (WIDTH, WIDTH)),
        ("attn_k", (WIDTH, WIDTH)),
        ("attn_v", (WIDTH, WIDTH)),
        ("attn_output", (WIDTH, WIDTH)),
        ("ffn_gate", (32, WIDTH)),
        ("ffn_up", (32, WIDTH)),
        ("ffn_down", (WIDTH, 32)),
    ):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, dtype=np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(model: Path) -> None:
    """Serve the model on a free port of 127.0.0.1 until stdin ends."""
    xllamacpp: Any = import_module("xllamacpp")  # 100 MB that only the server's own process needs
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = CONTEXT
    params.n_parallel = 2
    params.n_predict = 1200
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.sampling.seed = 7
    params.warmup = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_threads_http = 4
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()


def main() -> None:
    """Write the model where it is missing and serve it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    model = options.folder / "bytes.gguf"
    if not model.exists():
        write_model(model)
    serve(model)


if __name__ == "__main__":
    main()
