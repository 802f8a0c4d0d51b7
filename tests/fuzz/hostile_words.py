"""What may be typed where a value is expected: nothing here is a large number that would be accepted."""

SMALL = ("0", "1", "2", "-1", "0.5", "-0.0", "1e-300", "True", "None")
NUMBERS = (
    "1e300", "-1e300", "1e400", "nan", "-nan", "inf", "-inf", "Infinity", "9" * 40, "-" + "9" * 40, "9" * 5000,
    "0x10",
    "1_0", "1e", "--1", "1,", ",", ",,,", "1,two", "1,nan", "½", "１", "٣", "1 2", "+1", "1j", "0" * 300 + "1",
)  # fmt: skip
TEXTS = (
    "", " ", "\t", "\n", "a\nb", "'", '"', "''", "'''", '"""', "`", "\\", "$(true)", "%s%n", "{}", "{0}",
    "[red]x[/red]",
    "[/]", "\x1b[31m", "\x07", "é", "🙂", "\u202e", "a\udcffb", "x" * 5000, "-" * 3000, "−" * 100, "-", "--", "--=",
    "=",
    "#", ";", "None", "null", "True", "..", "../..", "~", "*", "?", "dpmp_2m", "eular", "__import__('os')",
    "lambda: 0",
)  # fmt: skip
NESTED = (
    "(" * 3000, "[" * 100 + "]" * 100, "[" * 3000, "{" * 200, "((((((1))))))", "(1,(2,(3,)))", "[[[]]]", "{'a': [1]}",
    "()",
    "-" * 3000 + "1", "not " * 500 + "1", "1" + "+1" * 3000, "~" * 3000 + "1", "(1, 'a', None)", "'a' 'b'", "f'{1}'",
)  # fmt: skip
REFERENCES = (
    "@", "%", "@@", "@()", "%FOO", "@nothing", "@nothing()", "@ddim", "@ddim()", "@cfg()", "@uniform", "@VP()",
    "@UNet",
    "@train()", "%EPS", "%VELOCITY", "@given_in_python", "@given_in_python()", "[@ddim, [@ddim()]]", "(@VP(), @VP())",
    "@pairs", "@digits", "@points()", "@adamw", "@cosine_decay()", "@a/ddim()", "@train/UNet()", "@\udcff",
)  # fmt: skip
CALLS = (
    "cfg", "cfg(1.5)", "cfg(**{})", "cfg(*())", "cfg(*[1])", "cfg(scale=)", "cfg(scale=1, scale=2)", "cfg(1)(2)",
    "cfg(cfg(1))",
    "cfg(1e300)", "cfg(nan)", "cfg(float('nan'))", "cfg(-" + "-" * 3000 + "1)", "cfg(" + "(" * 300, "cfg(1))",
    "cfg[1]", "cfg.x",
    "cfg(1);cfg(2)", "cfg(1)\n", "cfg('1')", "cfg(None)", "cfg(1j)", "cfg(" + "9" * 5000 + ")", "apg(1, radius=0)",
    "apg(1, 0, -1e300)", "interval(1, 0)", "interval(0, inf)", "clip_x0()", "clip_x0(1, -1)", "clip_x0(rebuild='no')",
    "dynamic_threshold(0)", "dynamic_threshold(1)", "skip_tuning", "skip_tuning(())", "skip_tuning((1, 1))",
    "freeu(0, 0, 0, 0)",
    "rescale", "averaged_variance", "curvature(0)", "curvature(probes=1)", "upsample_guidance(1)",
    "upsample_guidance(m=0)",
    "upsample_guidance(m=1.5)", "attention_scale(0)", "autoguidance('missing', 2)", "autoguidance('run', 2)",
    "autoguidance('loop', 2)", "autoguidance('', 2)", "autoguidance('run', 2, 3)", "autoguidance('run', 2, -1)",
    "autoguidance(run='gs://a/b', scale=2)", "cfg_pp(1)", "cfg_pp(2)", "cgf(1)", "cfg (1)", " cfg(1) ", "CFG(1)",
    "@cfg()",
)  # fmt: skip
PATHS = (
    "missing", "missing/deep", "file", "file/below", "folder", "folder/", "loop", "loop/below", "/dev/null",
    "/dev/null/x",
    "/dev/zero", "/proc/self/mem", "gs://a/b", "gs://", "s3://a/b", "file:///a", "http://a/b", ".", "./", "//", "run",
    "run/config.gin", "run/checkpoints", "pipe", "images.npz", "images/cat/000.png", "x" * 300, "x/" * 2000,
    "a\udcffb", "images",
    "run/../run", "-", "pixels", "classifier", "weights.pth",
)  # fmt: skip
ANY = (*SMALL, *NUMBERS, *TEXTS, *NESTED, *REFERENCES, *CALLS, *PATHS)
