"""What users give: `dtype`, `infer` (a dtype from data), `values` (rows and items), `column`."""
