"""Whatever is filled into a mail of ours, its lines and its markup stay ours."""

from datetime import UTC, date, datetime
from html.parser import HTMLParser

from hypothesis import example, given
from hypothesis import strategies as st

from cath_dagster.bon.messages import Digest, OverdueInvoice, overdue_digest, reauthorisation
from cath_dagster.checktick.messages import UpcomingDeletion, deletion_warning
from cath_dagster.core.ports.mail import Content

PARTS = st.sampled_from(
    [
        "<b>",
        "<script>",
        '"',
        "'",
        "&",
        "&lt;",
        "{{ 1 }}",
        "{% x %}",
        "\n",
        "\r\n\r\n",
        "\u2028",
        "https://",
        "evil.example",
        "-->",
        "x",
        "א",
    ]
)
WORDS = st.lists(PARTS, min_size=1, max_size=10).map("".join)


class Markup(HTMLParser):
    """The tags and attributes of a page, without its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, object]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", data))


def digest(words: str) -> Content:
    invoice = OverdueInvoice(words, words, 123_450, "ILS", date(2026, 11, 15), 3)
    return overdue_digest(Digest(business=words, owner=words, invoices=[invoice], count=1, totals={"ILS": 123_450}))


def warning(words: str) -> Content:
    return deletion_warning(
        UpcomingDeletion(
            survey_name=words,
            slug="ward-round",
            owner_name=words,
            days=7,
            tier=7,
            deletion_date=datetime(2026, 11, 25, tzinfo=UTC),
            grace_days=30,
            site_url="https://checktick.example",
        )
    )


@given(WORDS)
@example("A customer\n\n# Pay here\n\nhttps://evil.example/")
def test_words_of_a_user_add_no_line_no_markup_and_no_link(words: str) -> None:
    for write in (digest, warning, lambda text: reauthorisation(text, text)):
        content, plain = write(words), write("x")

        assert len(content.text.splitlines()) == len(plain.text.splitlines())
        assert Markup(content.html).found == Markup(plain.html).found
        assert content.text.count("://") == plain.text.count("://")
        assert "evil.example" not in content.text + content.html
        assert len(content.subject.splitlines()) == 1


def test_links_of_ours_stay_links() -> None:
    content = warning("x")

    assert "https://checktick.example/surveys/ward-round/dashboard/" in content.text
    assert 'href="https://checktick.example/docs/data-governance-overview/"' in content.html
