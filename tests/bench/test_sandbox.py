"""What `bench sandbox` measures has its effects. Times are not tested here."""

from bench.questions.sandbox import subjects


def test_every_subject_does_its_changes():
    with subjects() as tried:
        for subject in tried.values():
            assert subject.seconds("one", 30) > 0
            assert len(subject.done()) >= 30
