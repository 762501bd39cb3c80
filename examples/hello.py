"""The smallest pipeline: three tasks that pass values. `clearance run examples/hello.py -p name=Ada`"""

from clearance import dag, task


@task
def greet(name: str = "world") -> str:
    """Writes a greeting."""
    return f"hello, {name}"


@task
def count(text: str) -> dict[str, int]:
    """Counts the letters."""
    return {letter: text.count(letter) for letter in sorted(set(text)) if letter.isalpha()}


@task
def report(letters: dict[str, int]) -> str:
    """Says which letter is the most frequent."""
    letter = max(letters, key=lambda one: letters[one])
    line = f"{letter!r} occurs {letters[letter]} times"
    print(line)
    return line


hello = dag("hello", greet >> count >> report)
