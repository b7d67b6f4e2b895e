"""The built-in datasets: drawn scenes of textured shapes with exact labels."""
