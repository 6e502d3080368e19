"""/files on a real server: a finished job's own files, and nothing else of the disk."""

import http.client
import io
import tarfile
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from blockmerge.errors import StorageError
from blockmerge.jobs.states import JobState
from blockmerge.ui.files import Archive, ResultFile, result_files
from blockmerge.ui.web import build_app
from tests.ui.conftest import Bench, serving

SECRET = b"not for you"


def get(port: int, path: str, **headers: str) -> tuple[int, bytes, Message]:
    """The path as it is: urllib and browsers would tidy it first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    answer = (response.status, response.read(), response.headers)
    connection.close()
    return answer


def test_a_file_comes_as_an_attachment_and_in_ranges(bench: Bench, port: int) -> None:
    job = bench.finish("mine", model_safetensors=b"0123456789")

    status, body, headers = get(port, f"/files/{job}/model.safetensors")
    part_status, part, _ = get(port, f"/files/{job}/model.safetensors", Range="bytes=2-4")

    assert (status, body) == (200, b"0123456789")
    assert headers["Content-Disposition"] == 'attachment; filename="model.safetensors"'
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert (part_status, part) == (206, b"234")


def test_a_result_of_somebody_else_is_as_if_there_were_none(bench: Bench) -> None:
    job = bench.finish("mine", config_json=SECRET)
    shared = replace(bench.settings, hosts=("box.example",))

    with serving(lambda: build_app(shared, bench.store)) as port:
        answers = [get(port, f"/files/{job}/{name}") for name in ("", "all.tar", "config.json")]

    assert {(status, body) for status, body, _ in answers} == {(404, b"No such job.\n")}


def test_the_archive_holds_the_whole_result_in_a_folder_of_its_name(bench: Bench, port: int) -> None:
    job = bench.finish("mine", model_safetensors=b"x" * 1500, config_json=b"{}", empty_txt=b"")

    status, body, headers = get(port, f"/files/{job}/all.tar")

    assert status == 200
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''mine.tar"
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        contents = {name: archive.extractfile(name) for name in archive.getnames()}
        assert {name: file.read() for name, file in contents.items() if file} == {
            "mine/blockmerge.json": (bench.settings.output / "mine" / "blockmerge.json").read_bytes(),
            "mine/config.json": b"{}",
            "mine/empty.txt": b"",
            "mine/model.safetensors": b"x" * 1500,
        }


def test_the_list_links_to_every_file_and_escapes_their_names(bench: Bench, port: int) -> None:
    job = bench.finish("mine", **{"<img src=x onerror=alert(1)>_txt": b"12"})

    status, body, headers = get(port, f"/files/{job}/")

    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<img" not in body
    assert b"&lt;img src=x onerror=alert(1)&gt;.txt</a></td><td>2 bytes</td>" in body
    assert f"<code>curl http://127.0.0.1:{port}/files/{job}/all.tar | tar -x</code>".encode() in body


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "../../secret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "..%5csecret.txt",
        "./config.json",
        "config.json/",
        "sub/../config.json",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "C:%5cwindows%5cwin.ini",
        "config.json%00.txt",
        "%00",
        "link.txt",
        "linked/secret.txt",
        ".hidden",
        "later.txt",
        "",
        "~",
        "x" * 5000,
    ],
)
def test_no_path_leads_out_of_the_result(bench: Bench, port: int, path: str) -> None:
    (bench.settings.home / "elsewhere").mkdir()
    secret = bench.settings.home / "elsewhere" / "secret.txt"
    secret.write_bytes(SECRET)
    job = bench.finish("mine", config_json=SECRET, link_txt=b"will be a link", _hidden=SECRET)
    folder = bench.settings.output / "mine"
    (bench.settings.output / "secret.txt").write_bytes(SECRET)
    (folder / "link.txt").unlink()
    (folder / "link.txt").symlink_to(secret)
    (folder / "linked").symlink_to(secret.parent)
    (folder / "later.txt").write_bytes(SECRET)

    status, body, _ = get(port, f"/files/{job}/{path}")

    assert SECRET not in body
    assert status in ((200, 404) if path == "" else (404,))


def test_a_link_that_replaced_a_file_is_in_neither_list_nor_archive(bench: Bench) -> None:
    bench.finish("mine", config_json=b"{}", link_txt=b"1")
    folder = bench.settings.output / "mine"
    (folder / "link.txt").unlink()
    (folder / "link.txt").symlink_to("/etc/passwd")

    assert [file.name for file in result_files(folder)] == ["blockmerge.json", "config.json"]


def test_a_manifest_that_names_files_elsewhere_opens_none_of_them(bench: Bench) -> None:
    bench.finish("mine", config_json=b"{}")
    manifest = bench.settings.output / "mine" / "blockmerge.json"
    (bench.settings.output / "secret.txt").write_bytes(SECRET)
    text = manifest.read_text()
    manifest.write_text(
        text.replace('"files": {', '"files": {"../secret.txt": {"size": 1}, "/etc/passwd": {"size": 1}, ')
    )

    assert [file.name for file in result_files(manifest.parent)] == ["blockmerge.json", "config.json"]


@pytest.mark.parametrize("end", ["", "all.tar", "config.json"])
def test_only_a_finished_job_has_files(bench: Bench, port: int, end: str) -> None:
    job = bench.add("mine")
    bench.advance(job, JobState.MERGING)

    assert get(port, f"/files/{job}/{end}")[:2] == (404, f"Job {job} is Merging: it has no files.\n".encode())
    assert get(port, f"/files/99/{end}")[:2] == (404, b"No such job.\n")
    assert get(port, f"/files/{10**30}/{end}")[:2] == (404, b"No such job.\n")


def test_a_result_that_was_deleted_says_so(bench: Bench, port: int) -> None:
    job = bench.add("mine")
    bench.advance(job, JobState.DONE)

    status, body, _ = get(port, f"/files/{job}/")

    assert (status, body) == (404, b"mine has no blockmerge.json, so it is no finished result of blockmerge.\n")


def test_a_name_that_is_not_in_the_result_is_answered_with_a_sentence(bench: Bench, port: int) -> None:
    job = bench.finish("mine")

    assert get(port, f"/files/{job}/nothing")[:2] == (
        404,
        f"Job {job} has no such file. Its list of files has those that there are.\n".encode(),
    )


def test_a_file_that_shrinks_while_it_is_sent_ends_the_download(bench: Bench) -> None:
    bench.finish("mine", model_safetensors=b"0123456789")
    archive = Archive("mine", result_files(bench.settings.output / "mine"))
    (bench.settings.output / "mine" / "model.safetensors").write_bytes(b"012")

    with pytest.raises(StorageError, match=r"^model\.safetensors became shorter while it was downloaded\. Download it"):
        list(archive.stream())


def test_a_file_of_more_than_8_gb_and_a_long_name_fit_into_the_archive(tmp_path: Path) -> None:
    large = tmp_path / ("n" * 200)
    with large.open("wb") as file:
        file.truncate(9 * 10**9)

    archive = Archive("mine", [ResultFile(large.name, large, large.stat().st_size, 0)])
    head = next(archive.stream())

    info = tarfile.TarFile.open(fileobj=io.BytesIO(head)).next()
    assert info is not None
    assert (info.name, info.size) == (f"mine/{large.name}", 9 * 10**9)
    assert archive.length == len(head) + 9 * 10**9 + 1024  # 9 * 10**9 is whole blocks of 512
