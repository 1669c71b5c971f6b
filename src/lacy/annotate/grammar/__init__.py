"""A grammar of values: patterns for numbers, measures, money, dates, times and names."""
