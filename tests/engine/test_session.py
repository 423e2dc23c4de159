"""Sessions: determinism, switches, controls, constant memory; through the public API on a random model."""

from __future__ import annotations

import threading
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from quickchange.cache import State, threads
from quickchange.cache.ledger import Ledger
from quickchange.engine.session import Chunk, Session
from quickchange.engine.studio import Studio
from quickchange.engine.switch import VARIANTS
from quickchange.errors import InputError, SessionClosedError

SMALL = tiny.studio()
GARMENT = SMALL.prepare_garment(tiny.garment(3))


@pytest.fixture(scope="module")
def studio() -> Studio:
    return tiny.studio()


def start(studio: Studio, seed: int = 0, garment: int = 2, variant: str = "full") -> Session:
    return studio.open(tiny.image(1), tiny.garment(garment), "she turns to the left", seed, variant=variant)


def stream(session: Session, count: int) -> list[Chunk]:
    return list(islice(session, count))


def pixels(chunks: list[Chunk]) -> np.ndarray:
    return np.concatenate([c.frames for c in chunks])


def controlled(studio: Studio, seed: int) -> np.ndarray:
    """Seven chunks with a switch, a new prompt and a new person on the way."""
    with start(studio, seed) as session:
        chunks = stream(session, 2)
        session.wear(tiny.garment(3))
        chunks += stream(session, 2)
        session.say("he waves")
        chunks += stream(session, 1)
        session.reference(tiny.image(5))
        chunks += stream(session, 2)
    return pixels(chunks)


def test_same_seed_and_controls_give_the_same_bits(studio: Studio) -> None:
    assert np.array_equal(controlled(studio, 1), controlled(studio, 1))
    assert not np.array_equal(controlled(studio, 1), controlled(studio, 2))


def test_chunks_carry_frames_numbers_and_segments(studio: Studio) -> None:
    with start(studio) as session:
        chunks = stream(session, 2)
        session.wear(tiny.garment(3))
        chunks += stream(session, 2)
    assert [c.frames.shape for c in chunks] == [(n, 16, 24, 3) for n in (9, 12, 9, 12)]
    assert all(c.frames.dtype == np.uint8 for c in chunks)
    assert [c.start for c in chunks] == [0, 9, 21, 30]
    assert [c.segment for c in chunks] == [0, 0, 1, 1]


def test_a_control_is_obeyed_by_the_next_chunk_and_the_latest_wins(studio: Studio) -> None:
    with start(studio) as session:
        assert next(session).obeys == 0
        session.wear(tiny.garment(3))
        last = session.wear(tiny.garment(4))
        after = next(session)
    with start(studio) as other:
        next(other)
        other.wear(tiny.garment(4))
        assert np.array_equal(next(other).frames, after.frames)
    assert after.obeys == last == 2


def test_after_a_full_switch_the_cache_equals_a_fresh_session(studio: Studio) -> None:
    """The heart of the method: the cache looks like the start of a clip whose reference is the last frame."""
    with start(studio) as session:
        last = stream(session, 5)[-1].frames[-1]
        session.wear(tiny.garment(3))
        with torch.inference_mode():
            session._apply_pending()
        fresh = studio.open(last, tiny.garment(3), "she turns to the left")
        mine, theirs = session.cache, fresh.cache
        assert [(e.thread, e.position, e.state) for e in mine.entries] == [
            (e.thread, e.position, e.state) for e in theirs.entries
        ]
        slots = [entry.slot for entry in mine.entries]
        assert slots == [entry.slot for entry in theirs.entries]
        for ours, fresh_store in ((mine.k_rot, theirs.k_rot), (mine.k_raw, theirs.k_raw), (mine.v, theirs.v)):
            assert torch.equal(ours[:, :, :, slots], fresh_store[:, :, :, slots])
        # And so the streams go on alike, given the same noise.
        fresh._generator.set_state(session._generator.get_state())
        assert np.array_equal(pixels(stream(session, 3)), pixels(stream(fresh, 3)))


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_variant_streams_on(studio: Studio, variant: str) -> None:
    with start(studio, variant=variant) as session:
        stream(session, 4)
        sequence = session.wear(tiny.garment(3))
        chunks = stream(session, 3)
        entries = session.cache.entries
    assert chunks[0].obeys == sequence
    assert session.cache.versions.of(threads.GARMENT) == 2
    old = [e for e in entries if e.thread == threads.HISTORY and e.versions.of(threads.GARMENT) == 1]
    keeps_history = variant == "refresh" or variant.endswith("+sink")
    assert bool(old) == keeps_history
    assert all(e.state is State.LIVE for e in entries)


def test_refresh_alone_changes_what_follows(studio: Studio) -> None:
    with start(studio, variant="refresh") as switched, start(studio, variant="refresh") as same:
        stream(switched, 2), stream(same, 2)
        switched.wear(tiny.garment(3))
        assert not np.array_equal(next(switched).frames, next(same).frames)


def test_a_new_prompt_changes_the_stream_without_a_cut(studio: Studio) -> None:
    with start(studio) as session, start(studio) as other:
        stream(session, 2), stream(other, 2)
        sequence = session.say("he waves a hand slowly")
        said, unsaid = next(session), next(other)
    assert said.obeys == sequence
    assert said.segment == unsaid.segment
    assert len(said.frames) == 12
    assert not np.array_equal(said.frames, unsaid.frames)


def test_wearing_before_the_first_chunk_equals_opening_with_it(studio: Studio) -> None:
    with start(studio) as session, start(studio, garment=3) as other:
        session.wear(tiny.garment(3))
        assert np.array_equal(pixels(stream(session, 3)), pixels(stream(other, 3)))


def test_endless_streams_stay_in_place(studio: Studio) -> None:
    with start(studio) as session:
        stream(session, 4)
        address, size = session.cache.v.data_ptr(), len(session.cache.entries)
        for chunk in islice(session, 40):
            assert chunk.frames.shape[0] == 12
        positions = [e.position for e in session.cache.entries]
        assert session.cache.v.data_ptr() == address
        assert len(session.cache.entries) == size
        assert max(positions) < 11  # window-relative after the trained length
        assert len(session._latents) + len(session._lasts) + len(session._shown) < 50


def test_pause_stops_and_resume_goes_on_with_the_same_bits(studio: Studio) -> None:
    with start(studio) as session, start(studio) as straight:
        expected = stream(straight, 3)
        got = stream(session, 1)
        session.pause()
        worker = threading.Thread(target=lambda: got.extend(stream(session, 2)))
        worker.start()
        worker.join(0.2)
        assert worker.is_alive()
        assert len(got) == 1
        session.resume()
        worker.join(30)
    assert np.array_equal(pixels(got), pixels(expected))


def test_a_closed_session_ends_and_takes_no_controls(studio: Studio) -> None:
    session = start(studio)
    next(session)
    session.close()
    assert list(session) == []
    with pytest.raises(SessionClosedError, match="closed"):
        session.say("more")


def test_a_model_directory_gives_the_same_stream(studio: Studio, tmp_path: Path) -> None:
    studio.save_pretrained(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".pt", ".bin", ".pkl")]
    loaded = Studio.from_pretrained(tmp_path)
    with start(studio) as session, start(loaded) as other:
        assert np.array_equal(pixels(stream(session, 2)), pixels(stream(other, 2)))


def test_bad_requests_are_named(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fullest"):
        start(studio, variant="fullest")
    with pytest.raises(InputError, match=r"nobody\.png"):
        studio.open(tmp_path / "nobody.png", tiny.image(1))
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        Studio.from_pretrained(tmp_path)


def test_closing_wins_over_pausing(studio: Studio) -> None:
    session = start(studio)
    session.close()
    session.pause()
    assert list(session) == []


def test_an_error_in_a_chunk_closes_the_session(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    session, other = start(studio), start(studio)
    stream(session, 1)

    def fail(*_: object) -> None:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(studio.components.codec, "decode", fail)
        with pytest.raises(MemoryError):
            next(session)
    assert list(session) == []
    assert len(stream(other, 2)) == 2  # others go on


def test_a_switch_after_a_new_person_goes_on_from_the_new_one(studio: Studio) -> None:
    with start(studio, variant="random_reference") as session:
        stream(session, 3)
        session.reference(tiny.image(5))
        next(session)
        assert len(session._lasts) == 1


def test_a_switch_goes_on_from_what_was_shown(studio: Studio) -> None:
    """What was generated ahead is taken back: the reference is the shown frame, and its successor comes next."""
    with start(studio) as session:
        shown = pixels(stream(session, 2))[13]
        assert session.flush(13) == 13
        session.wear(tiny.garment(3))
        assert next(session).start == 14
        reference = session._reference
        assert torch.equal(reference, studio.conditioner.frame(torch.from_numpy(shown.copy()).permute(2, 0, 1)[None]))
        next(session)
        # frames 14 to 22 came anew, then 23 to 34; the flushed ones must not be found again
        assert session.flush(15) == 15
        session.wear(tiny.garment(2))
        assert next(session).start == 16


@given(st.lists(st.tuples(st.integers(-5, 40), st.booleans()), max_size=8))
@settings(max_examples=15)
def test_numbers_stay_gapless_whatever_is_flushed(calls: list[tuple[int, bool]]) -> None:
    last = -1
    with start(SMALL) as session:
        for ahead, switch in calls:
            chunk = next(session)
            assert chunk.start == last + 1
            last = chunk.start + len(chunk.frames) - 1
            after = session.flush(last - ahead)
            assert last - 24 <= after <= last
            if switch:
                session.wear(GARMENT)
                last = after
        assert next(session).start == last + 1


def test_a_flush_without_a_switch_changes_nothing(studio: Studio) -> None:
    with start(studio) as session, start(studio) as other:
        assert session.flush(3) == -1  # nothing generated yet
        expected, got = stream(other, 3), stream(session, 1)
        session.flush(2)
        got += stream(session, 1)
        session.say("she turns to the left")
        other.say("she turns to the left")
        assert next(session).start == expected[2].start
    assert np.array_equal(pixels(got), pixels(expected[:2]))


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_variant_obeys_a_flush_or_says_that_it_cannot(studio: Studio, variant: str) -> None:
    """The next chunk starts behind the number that flush returned, and its reference shows nothing that was flushed."""
    with start(studio, variant=variant) as session:
        frames = pixels(stream(session, 2))
        latents = torch.cat([shown.latents for shown in session._shown], 2)
        after = session.flush(13)
        assert after == (20 if variant in ("refresh", "recache", "recache+sink") else 13)
        session.wear(tiny.garment(3))
        assert next(session).start == after + 1
        reference = session._reference
        last_latent = latents[:, :, 4:5]  # frames 13 to 16
        of = {k: studio.conditioner.frame(torch.from_numpy(frames[k].copy()).permute(2, 0, 1)[None]) for k in (8, 13)}
    match variant.removesuffix("+sink"):
        case "full":
            assert torch.equal(reference, of[13])
        case "last_latent":
            assert torch.equal(reference, last_latent)
        case "random_reference":
            assert torch.equal(reference, of[8])  # the last frame of the only chunk that was shown whole
        case _:
            assert torch.equal(reference, session._original)


def test_a_flush_during_a_switch_waits_for_the_next_one(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(studio) as session:
        stream(session, 2)
        session.wear(tiny.garment(3))
        denoise = session.rollout.denoise

        def flush_meanwhile(generator: torch.Generator) -> torch.Tensor:
            assert session.flush(15) == 15
            return denoise(generator)

        with monkeypatch.context() as patch:
            patch.setattr(session.rollout, "denoise", flush_meanwhile)
            assert next(session).start == 21
        session.wear(tiny.garment(4))
        assert next(session).start == 16


def test_a_slow_garment_does_not_undo_a_later_click(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garment A is asked for first and ready last; B, asked for meanwhile, is worn already and stays."""
    with start(studio) as session:
        next(session)
        later = studio.prepare_garment(tiny.garment(4))
        slow = studio.prepare_garment(tiny.garment(3))

        def garment(*_: object, **__: object) -> object:
            monkeypatch.undo()
            session.wear(later)
            assert next(session).obeys == 1
            return slow

        monkeypatch.setattr(session._conditioner, "garment", garment)
        assert session.wear("slow.png") == 2
        assert torch.equal(session._garment, later.latent)
        assert next(session).obeys == 2
        assert torch.equal(session._garment, later.latent)


@pytest.mark.parametrize("controls", [1, 3])
def test_controls_from_other_threads_keep_the_stream_whole(studio: Studio, controls: int) -> None:
    """Threads flush, wear and say as fast as they can while one generates: gapless numbers, the last click worn."""
    garments = [studio.prepare_garment(tiny.garment(seed)) for seed in (2, 3, 4)]
    begin, done = threading.Barrier(controls + 1), threading.Event()
    errors: list[BaseException] = []
    promised: list[int] = []

    def control(session: Session, number: int) -> None:
        begin.wait()
        try:
            for call in range(10**6):
                promised.append(session.flush(session._next - 4))
                if call % 7 == 0:
                    session.wear(garments[call % 3])
                if call % 11 == number:
                    session.say("he waves a hand slowly")
                if done.is_set():
                    return
        except BaseException as error:
            errors.append(error)

    with start(studio) as session:
        threads = [threading.Thread(target=control, args=(session, number)) for number in range(controls)]
        for thread in threads:
            thread.start()
        begin.wait()
        chunks = stream(session, 25)
        done.set()
        for thread in threads:
            thread.join(30)
        assert not errors
        last = session.wear(garments[1])
        session.flush(0)
        assert next(session).obeys == last
        assert torch.equal(session._garment, garments[1].latent)
    for before, after in pairwise(chunks):
        end = before.start + len(before.frames)
        assert after.start == end or after.start - 1 in promised
        assert end - 24 <= after.start <= end


def test_a_failed_prompt_keeps_the_old_one(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is reported and forgotten; the stream goes on bit for bit as if nobody had asked."""
    with start(studio) as session, start(studio) as other:
        stream(session, 2), stream(other, 2)
        session.say("he waves a hand slowly")
        calls: list[int] = []
        attention = session.rollout.attention

        def fail_in_the_second_layer(layer: int, *tensors: torch.Tensor) -> torch.Tensor:
            calls.append(layer)
            if layer == 1:
                raise MemoryError("no memory")
            return attention(layer, *tensors)

        with monkeypatch.context() as patch:
            patch.setattr(session.rollout, "attention", fail_in_the_second_layer)
            with pytest.raises(MemoryError):
                next(session)
        assert calls == [0, 1]
        assert session.cache.table() == other.cache.table()
        assert np.array_equal(pixels(stream(session, 2)), pixels(stream(other, 2)))


def test_prepared_pictures_give_the_same_stream(studio: Studio) -> None:
    person, garment = (studio.prepare_reference(tiny.image(1)), studio.prepare_garment(tiny.garment(2)))
    with start(studio) as session, studio.open(person, garment, "she turns to the left", 0) as other:
        assert np.array_equal(next(session).frames, next(other).frames)
        session.wear(tiny.garment(3))
        other.wear(studio.prepare_garment(tiny.garment(3)))
        assert np.array_equal(next(session).frames, next(other).frames)
    assert np.array_equal(garment.picture, studio.conditioner.place(tiny.garment(2)).rgb)


@pytest.mark.parametrize("variant", ["full", "refresh", "refresh+withdraw", "full+sink", "recache", "last_latent"])
def test_frames_are_the_same_when_chunks_are_settled_later(studio: Studio, variant: str) -> None:
    def run(settle: bool) -> tuple[np.ndarray, str]:
        with start(studio, variant=variant) as session:
            chunks = [session.advance(settle=settle) for _ in range(2)]
            session.wear(tiny.garment(3))
            chunks += [session.advance(settle=settle) for _ in range(5)]
            session.say("he waves")
            chunks.append(session.advance(settle=settle))
            session.reference(tiny.image(5))
            chunks += [session.advance(settle=settle) for _ in range(2)]
            chunks.append(next(session))
            return pixels(chunks), session.cache.table()

    (frames, table), (others, other_table) = run(True), run(False)
    assert np.array_equal(frames, others)
    assert table == other_table


def test_a_switch_saves_the_pass_of_a_chunk_that_leaves(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    forward = studio.components.transformer.forward
    with start(studio) as session:
        session.advance(settle=False)

        def counted(*a: Any) -> Any:
            passes.append(1)
            return forward(*a)

        monkeypatch.setattr(studio.components.transformer, "forward", counted)
        session.wear(tiny.garment(3))
        session.advance(settle=False)
    assert len(passes) == 1 + 2  # the pair, two denoising steps


def test_an_observer_sees_every_state_of_a_switch(studio: Studio) -> None:
    seen: list[Ledger] = []
    with start(studio) as session:
        stream(session, 2)
        session.watch(seen.append)
        session.wear(tiny.garment(3))
        next(session)
        session.watch(None)
        count = len(seen)
        next(session)
    assert len(seen) == count
    assert [ledger.segment for ledger in seen] == sorted(ledger.segment for ledger in seen)
    states = [{entry.state for entry in ledger.history} for ledger in seen]
    assert states.index({State.STALE}) < states.index(set())  # history turns stale, then leaves
    assert (seen[-1].segment, len(seen[-1].history)) == (1, 3)
