from blockmerge.cli import app

app(prog_name="python -m blockmerge")
