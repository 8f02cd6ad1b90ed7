"""What is stored, asked: series, rows, figures, audits; and small files joined into months."""
