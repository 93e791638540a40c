"""The page: layout, what each control does, the canvas, drawing, one operator's session."""
