"""Folders that begin anew."""

from dsr_backend.runtime.folders import clear_folder


def test_a_folder_is_cleared_of_everything_but_its_lock_and_of_links_without_their_targets(tmp_path):
    target, folder = tmp_path / "target", tmp_path / "run"
    for path in (target, folder / "old"):
        path.mkdir(parents=True)
        (path / "1.npz").touch()
    (folder / "owner.lock").touch()
    (folder / "checkpoint").touch()
    (folder / "link").symlink_to(target)
    clear_folder(folder, "owner.lock")
    assert [path.name for path in folder.iterdir()] == ["owner.lock"] and (target / "1.npz").exists()
