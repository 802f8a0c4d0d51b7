"""Reading what is typed on the command line: lists of numbers and names, levers."""

import ast

from diffusion import LEVERS
from scripts import config
from scripts.errors import UserError, lookup


def whole_numbers(text, option) -> list[int]:
    """ "1,2,4" as numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r}: write whole numbers with commas, such as 1,2,4") from None


def at_least_one(number, option) -> int:
    """The number, if it is one of calls or images."""
    if number < 1:
        raise UserError(f"{option} {number}: at least 1 is needed")
    return number


def lever(text):
    """ "cfg(1.5)" or "clip_x0" as the lever; only plain numbers are understood inside the brackets."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        name = tree.func if isinstance(tree, ast.Call) else tree
        arguments = [ast.literal_eval(a) for a in tree.args] if isinstance(tree, ast.Call) else []
        named = {k.arg: ast.literal_eval(k.value) for k in tree.keywords} if isinstance(tree, ast.Call) else {}
        name = name.id
    except (SyntaxError, ValueError, AttributeError):
        raise UserError(f'--lever {text!r}: write a name with its settings, such as "cfg(1.5)"') from None
    lookup("lever", name, LEVERS)
    try:
        return config.lever(name)(*arguments, **named)
    except TypeError as error:
        raise UserError(f"--lever {text!r}: {str(error).splitlines()[0]}") from None
