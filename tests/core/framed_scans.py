"""Scans with boxes, for property tests."""

from hypothesis import strategies as st


@st.composite
def scans_with_boxes(draw, most=6):
    h, w = draw(st.integers(32, 900)), draw(st.integers(32, 900))

    def box():
        x1, y1 = draw(st.floats(0, w - 5)), draw(st.floats(0, h - 5))
        x2 = x1 + draw(st.floats(4, max(4.5, (w - x1) * 0.8)))
        y2 = y1 + draw(st.floats(4, max(4.5, (h - y1) * 0.8)))
        return x1, y1, min(x2, w), min(y2, h)

    return (h, w), [box() for _ in range(draw(st.integers(1, most)))]
