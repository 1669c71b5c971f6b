"""Markdown with HTML in it is read as the text that a browser would show."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.corpus.read_markup import markdown_text


def paragraphs(text):
    return markdown_text(text)[0].split("\n\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<div align=center>\n<p>Ada.</p>\n</div>\n\nBo.", ["Ada.", "Bo."]),
        ("<p align=center>Ada<br>Bo<br/>Cy</p>", ["Ada\nBo\nCy"]),
        ("mill<br>and", ["mill\nand"]),
        ("<details>\n<summary>More</summary>\nAda, 1901.\n</details>", ["More", "Ada, 1901."]),
        ("<table><tr><td>Ulm</td><td>4711</td></tr><tr><td>x<td>y</table>", ["Ulm, 4711", "x, y"]),
        ("<ul><li>One<li>Two</ul>", ["One", "Two"]),
        ("<dl><dt>Born<dd>1901</dl>", ["Born", "1901"]),
        ("<center>\n\n# Ada\n\nBo\n</center>", ["Ada", "Bo"]),
        ("a <b>c</b>d <kbd>e</kbd>f<sup>2</sup>", ["a cd ef2"]),
        ("caf&eacute; &#8212; &amp; &lt;b&gt; a < b", ["café — & <b> a < b"]),
        ("a<!-- no -->b\n\n<!-- no\n\nno -->\n\nc", ["ab", "c"]),
        ("<script>\nvar no;\n\nno()\n</script>\n\n<style>no</style>yes", ["yes"]),
        ("a <span hidden>no</span><i style='display: none'>no</i> b", ["a b"]),
        ("<div>open <b>bold\n\nNext", ["open bold", "Next"]),
        ("Ada <!-- open\nfor ever", ["Ada <!-- open for ever"]),
        ("Ada.\n\n<p align=center", ["Ada."]),
        ("<pre>\na\n  b\n</pre>", ["a\nb"]),
        ("```\nno\n```\n\n    x = no(1);\n\nyes", ["yes"]),
        ("Ada.\n\n    She was in Ulm, as mails say.", ["Ada.", "She was in Ulm, as mails say."]),
        ("<div>\n\n    <p>Ada in Ulm.</p>\n\n</div>", ["Ada in Ulm."]),
        ("Ada[^1] and Bo[^b].\n\n[^1]: Kelfield\n[^b]: 1880", ["Ada and Bo.", "Kelfield", "1880"]),
        ("+++\ntitle = 'T'\n+++\nAda.", ["Ada."]),
        ("".join("  " * n + f"- {n}\n" for n in range(40)), [*map(str, range(40))]),
        ("~~old~~ [link](x 'no') ![no](y) [[Wiki]] $x^2$", ["old link [[Wiki]] $x^2$"]),
    ],
)  # fmt: skip
def test_markdown_text_is_what_a_browser_shows(text, wanted):
    assert paragraphs(text) == wanted


def test_titles():
    assert markdown_text('---\ntitle: "Ada: a life"\n---\n# Other')[1] == "Ada: a life"
    assert markdown_text("+++\ntitle = 'Ada'\n+++\n# Other")[1] == "Ada"
    assert markdown_text("<div>\n<h1>Ada <i>Vell</i></h1>\n</div>\n\n# Other")[1] == "Ada Vell"
    assert markdown_text("no heading")[1] == ""


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(
    ["<div>", "</div>", "<p>", "<td>", "</tr>", "<table>", "<!--", "-->", "<pre>", "</pre>", "\n\n",
     "    ", "* ", "> ", "# ", "<script>", "</script>", "&", "<br>", "|", "[^a]: ", "```", "<", ">"]
), max_size=12), st.integers(0, 12))  # fmt: skip
def test_visible_words_are_always_extracted(pieces, at):
    text = "".join(pieces[:at]) + "\n\nKelfield stands.\n\n" + "".join(pieces[at:])
    hides = ("<script>", "<!--", "```", "<pre>", "    ")
    found = markdown_text(text)[0]
    if not any(piece in hides for piece in pieces[:at]):
        assert "Kelfield stands." in found
