"""The frame around the pages: what is shown, where one is, pages made when first needed."""
