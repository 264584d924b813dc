"""The page as HTML."""

from pipelines.reporting import html


def test_text_that_looks_like_a_marker_stays_as_it_is() -> None:
    page = html.page("{{body}}", "<p>{{title}}</p>", ["<p>{{lead}}</p>"])
    assert "<h1>{{body}}</h1>\n<p>{{title}}</p>\n<p>{{lead}}</p>\n<script>" in page
